//! How an operator names a dependency: `NAME=SCHEME://…`.

use std::sync::Arc;

use http::Uri;

/// What is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// What the operator calls it; the same as in rules such as `database down for 15s`.
    pub name: Arc<str>,
    /// How.
    pub check: Check,
}

/// How a dependency is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Check {
    /// A connection.
    Tcp(Server),
    /// A GET that must be answered 2xx or 3xx.
    Http {
        /// Where.
        server: Server,
        /// What.
        path: String,
    },
    /// A session and a query.
    Postgres {
        /// Where.
        server: Server,
        /// Who asks.
        user: String,
        /// Of which database.
        database: String,
    },
    /// A PING.
    Redis(Server),
}

/// A host, looked up again for each check, and a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    /// Its name or address.
    pub host: String,
    /// Its port.
    pub port: u16,
}

/// Longest name of a user or a database: PostgreSQL's own bound.
const IDENTIFIER_BYTES_MAX: usize = 63;

impl Target {
    /// From `NAME=SCHEME://…`; what is wrong as text.
    ///
    /// # Errors
    ///
    /// When it says nothing that can be asked.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        let (name, url) = text.split_once('=').ok_or("has no NAME=")?;
        let named = !name.is_empty()
            && name.len() <= IDENTIFIER_BYTES_MAX
            && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'));
        if !named {
            return Err("has a name that is not 1 to 63 letters, digits, -, _ or .");
        }
        let uri: Uri = url.parse().map_err(|_| "is not a URL")?;
        let authority = uri.authority().ok_or("names no host")?.as_str();
        let (user, _) = authority.rsplit_once('@').unwrap_or_default();
        if user.contains(':') {
            return Err("holds a password, and flags are no place for one: a server that asks for it counts as up");
        }
        let path = uri.path().trim_start_matches('/');
        let server = |port: Option<u16>| {
            let host = uri.host().unwrap_or_default().trim_matches(['[', ']']).to_owned();
            let port = uri.port_u16().or(port).ok_or("names no port")?;
            if host.is_empty() { Err("names no host") } else { Ok(Server { host, port }) }
        };
        let check = match uri.scheme_str() {
            Some("tcp") if path.is_empty() => Check::Tcp(server(None)?),
            Some("http") => {
                let path = uri.path_and_query().map_or("/", |path| path.as_str());
                Check::Http { server: server(Some(80))?, path: path.to_owned() }
            }
            Some("postgres" | "postgresql") => {
                let user = if user.is_empty() { "postgres" } else { user };
                let database = if path.is_empty() { user } else { path };
                if user.len().max(database.len()) > IDENTIFIER_BYTES_MAX || database.contains('/') {
                    return Err("names no user and database");
                }
                let (user, database) = (user.to_owned(), database.to_owned());
                Check::Postgres { server: server(Some(5432))?, user, database }
            }
            Some("redis") if path.is_empty() => Check::Redis(server(Some(6379))?),
            Some("tcp" | "redis") => return Err("has a path"),
            _ => return Err("has another scheme"),
        };
        Ok(Self { name: name.into(), check })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(host: &str, port: u16) -> Server {
        Server { host: host.to_owned(), port }
    }

    #[test]
    fn dependencies_are_named_by_urls() {
        let cases = [
            ("a=tcp://db:5432", Check::Tcp(server("db", 5432))),
            ("a=tcp://[::1]:80", Check::Tcp(server("::1", 80))),
            ("a=http://pay", Check::Http { server: server("pay", 80), path: "/".to_owned() }),
            ("a=http://pay:8080/live?x=1", Check::Http { server: server("pay", 8080), path: "/live?x=1".to_owned() }),
            (
                "a=postgres://shop@db/orders",
                Check::Postgres { server: server("db", 5432), user: "shop".to_owned(), database: "orders".to_owned() },
            ),
            (
                "a=postgresql://db:6000",
                Check::Postgres {
                    server: server("db", 6000),
                    user: "postgres".to_owned(),
                    database: "postgres".to_owned(),
                },
            ),
            ("a=redis://cache", Check::Redis(server("cache", 6379))),
        ];
        for (text, check) in cases {
            assert_eq!(Target::parse(text), Ok(Target { name: "a".into(), check }), "{text}");
        }
    }

    #[test]
    fn what_cannot_be_asked_is_refused_with_the_reason() {
        for (text, why) in [
            ("tcp://db:1", "has no NAME="),
            ("=tcp://db:1", "has a name"),
            ("data base=tcp://db:1", "has a name"),
            ("a=tcp://db", "names no port"),
            ("a=tcp://db:1/x", "has a path"),
            ("a=mysql://db", "has another scheme"),
            ("a=db:5432", "has another scheme"),
            ("a=postgres://u:p@db/x", "holds a password"),
            ("a=postgres://u@db/x/y", "names no user and database"),
            ("a=/x", "names no host"),
        ] {
            let error = Target::parse(text).expect_err(text);
            assert!(error.starts_with(why), "{text}: {error}");
        }
    }
}
