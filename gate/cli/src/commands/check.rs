//! `blueback check`: a rules file, read back.

use blueback_gate::RulesFile;

use crate::args::CheckArgs;
use crate::exit::{Exit, Failure};
use crate::{out, render};

pub(super) fn run(args: &CheckArgs) -> Result<Exit, Failure> {
    let file = args.file.display();
    let text = std::fs::read_to_string(&args.file).map_err(|error| Failure::usage(format!("{file}: {error}")))?;
    let rules = RulesFile::from_yaml(&text).map_err(|error| Failure::usage(format!("{file}: {error:#}")))?;
    let rules = rules
        .rules()
        .map_err(|errors| Failure::Usage(errors.iter().map(|error| format!("{file}: {error}")).collect()))?;
    out::result(&render::rules(&rules));
    Ok(Exit::Passed)
}
