//! `blueback sample-app`: one sample application as a process of its own.

use crate::args::SampleArgs;
use crate::exit::{Exit, Failure};
use crate::sample::{Config, Sample};
use crate::{out, signals};

pub(super) async fn run(args: SampleArgs) -> Result<Exit, Failure> {
    let &[shortest, longest] = args.latency_us.as_slice() else {
        return Err(Failure::usage("--latency-us: accepted: two numbers, such as 2000 8000"));
    };
    if shortest > longest {
        return Err(Failure::usage(format!("--latency-us: {shortest} is above {longest}; accepted: shortest first")));
    }
    let sample = Sample::start(Config {
        listen: args.listen,
        control: args.control,
        name: args.name,
        seed: args.seed,
        latency_us: (shortest, longest),
        fault: args.fault.unwrap_or_default(),
    })
    .await?;
    let asked_to_end = signals::asked_to_end();
    out::result(&format!("serving on {}", sample.addr()));
    if let Some(addr) = sample.control_addr() {
        out::result(&format!("control on {addr}"));
    }
    tokio::select! {
        () = sample.crashed() => return Ok(Exit::Failed),
        () = asked_to_end => (),
    }
    sample.drain().await;
    Ok(Exit::Passed)
}
