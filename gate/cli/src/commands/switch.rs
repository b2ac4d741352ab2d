//! `blueback switch`: starts a release.

use blueback_gate::api::types::SwitchRequest;
use tokio::time::Instant;

use super::{await_, failed, find_service, json};
use crate::args::SwitchArgs;
use crate::exit::{Exit, Failure};
use crate::{out, render};

pub(super) async fn run(args: SwitchArgs) -> Result<Exit, Failure> {
    let gate = args.gate.client()?;
    let deadline = Instant::now() + args.waiting.timeout;
    let service = find_service(&gate, args.name.as_deref()).await?;
    let request =
        SwitchRequest { to: args.to.into(), share: args.share, by: Some(args.by.by), revision: args.revision };
    let release = gate.switch(&service.name, &request).await.map_err(failed)?;
    if release.ended_ms.is_some() {
        out::story(&format!("{}: of this revision, and decided already", release.id));
    }
    if args.wait {
        return await_::verdict(&gate, release, &args.waiting, deadline).await;
    }
    if release.ended_ms.is_none() {
        out::story(&format!(
            "{}: {} gets {} of the requests of {}; `blueback await` waits for the verdict",
            release.id,
            render::slot_styled(release.candidate),
            render::percent(release.target_share),
            release.service,
        ));
    }
    out::result(&if args.waiting.json { json(&release)? } else { release.id });
    Ok(Exit::Passed)
}
