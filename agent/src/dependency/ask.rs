//! One check of a dependency.

use anyhow::{Context as _, bail};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::target::{Check, Server};
use crate::probe;

/// Version 3.0 of PostgreSQL's protocol.
const POSTGRES_VERSION: i32 = 3 << 16;
/// Longest message of a PostgreSQL server that is read; what a start and `SELECT 1` are answered with is far shorter.
const MESSAGE_BYTES_MAX: usize = 16 << 10;
/// Longest line of a Redis server that is read.
const LINE_BYTES_MAX: usize = 512;
/// What PostgreSQL may say between a start and the end of a query: some twenty messages.
const MESSAGES_MAX: usize = 200;

/// Whether the dependency answers as it should. Takes as long as it takes.
pub(super) async fn answers(check: &Check) -> anyhow::Result<()> {
    match check {
        Check::Tcp(server) => connect(server).await.map(drop),
        Check::Http { server, path } => http(server, path).await,
        Check::Postgres { server, user, database } => postgres(connect(server).await?, user, database).await,
        Check::Redis(server) => redis(connect(server).await?).await,
    }
}

async fn connect(server: &Server) -> anyhow::Result<TcpStream> {
    let stream = TcpStream::connect((server.host.as_str(), server.port)).await.context("no connection")?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

async fn http(server: &Server, path: &str) -> anyhow::Result<()> {
    let host = if server.host.contains(':') { format!("[{}]", server.host) } else { server.host.clone() };
    let host = format!("{host}:{}", server.port);
    let status = probe::get(connect(server).await?, &host, path).await.context("no answer")?;
    if !probe::is_good(status) {
        bail!("answered {status}");
    }
    Ok(())
}

/// Starts a session, asks `SELECT 1`, and says goodbye.
async fn postgres(mut stream: TcpStream, user: &str, database: &str) -> anyhow::Result<()> {
    let mut start = POSTGRES_VERSION.to_be_bytes().to_vec();
    for text in ["user", user, "database", database, "application_name", "blueback-agent"] {
        start.extend(text.as_bytes());
        start.push(0);
    }
    start.push(0);
    let length = i32::try_from(start.len() + 4).context("names are bounded")?;
    stream.write_all(&[&length.to_be_bytes()[..], &start].concat()).await?;
    let mut asked = false;
    for _ in 0..MESSAGES_MAX {
        let (kind, body) = message(&mut stream).await?;
        match kind {
            // Authentication: 0 is granted; else a password, or a proof of one, is wanted.
            b'R' if body.starts_with(&[0; 4]) => {}
            b'R' => return goodbye(stream).await,
            b'E' => bail!("{}", complaint(&body)),
            b'Z' if asked => return goodbye(stream).await,
            b'Z' => {
                asked = true;
                stream.write_all(b"Q\0\0\0\x0dSELECT 1\0").await?;
            }
            // Parameters, keys, notices, rows.
            _ => {}
        }
    }
    bail!("never ready for a query")
}

async fn goodbye(mut stream: TcpStream) -> anyhow::Result<()> {
    // Its answer was what mattered.
    let _ = stream.write_all(b"X\0\0\0\x04").await;
    Ok(())
}

/// A message of a PostgreSQL server: its kind and its content.
async fn message(stream: &mut TcpStream) -> anyhow::Result<(u8, Vec<u8>)> {
    let kind = stream.read_u8().await.context("broke off")?;
    let length = usize::try_from(stream.read_i32().await.context("broke off")?).unwrap_or(0);
    if !(4..=MESSAGE_BYTES_MAX).contains(&length) {
        bail!("does not speak PostgreSQL's protocol");
    }
    let mut body = vec![0; length - 4];
    stream.read_exact(&mut body).await.context("broke off")?;
    Ok((kind, body))
}

/// What a PostgreSQL error says: its code and its text.
fn complaint(body: &[u8]) -> String {
    let fields = body.split(|&byte| byte == 0).filter_map(|field| field.split_first());
    let text = |wanted: u8| {
        let field = fields.clone().find(|(kind, _)| **kind == wanted).map(|(_, text)| text);
        String::from_utf8_lossy(field.unwrap_or_default()).into_owned()
    };
    format!("{} {}", text(b'C'), text(b'M'))
}

async fn redis(mut stream: TcpStream) -> anyhow::Result<()> {
    stream.write_all(b"PING\r\n").await?;
    let mut line = Vec::new();
    while !line.ends_with(b"\n") {
        if line.len() == LINE_BYTES_MAX {
            bail!("does not speak Redis' protocol");
        }
        line.push(stream.read_u8().await.context("broke off")?);
    }
    // One that wants a password is up; one that is loading its data is not.
    if line.starts_with(b"+PONG") || line.starts_with(b"-NOAUTH") {
        return Ok(());
    }
    bail!("answered {}", String::from_utf8_lossy(&line).trim_end())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_complaint_is_its_code_and_its_text() {
        let body = b"SFATAL\0C57P03\0Mthe database system is starting up\0\0";
        assert_eq!(complaint(body), "57P03 the database system is starting up");
        assert_eq!(complaint(b""), " ");
    }
}
