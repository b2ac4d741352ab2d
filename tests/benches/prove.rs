//! The proof: reproduces the published tables with the judge itself and writes them down.
//!
//! `just prove`, or `cargo bench -p blueback-tests --bench prove -- [--percent N] [--out DIR]`. Minutes on two cores;
//! `--percent` runs a part of it, `--out` writes somewhere else than `docs`. Ends with 1 when a promise is broken.

use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use blueback::out;
use blueback_tests::proof::{Promise, Proof, Size, document, pieces, plots};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

struct Args {
    percent: u64,
    out: PathBuf,
}

fn args() -> anyhow::Result<Args> {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("the crate is in a repository")?.join("docs");
    let mut args = Args { percent: 100, out: docs };
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let mut value = || words.next().with_context(|| format!("{word} needs a value"));
        match word.as_str() {
            "--percent" => args.percent = value()?.parse().context("--percent: a number, such as 10")?,
            "--out" => args.out = value()?.into(),
            // What cargo adds.
            "--bench" => (),
            _ => bail!("{word}: accepted are --percent N and --out DIR"),
        }
    }
    Ok(args)
}

fn prove() -> anyhow::Result<bool> {
    let args = args()?;
    let size = Size::full().scaled(args.percent);
    let command =
        if args.percent == 100 { "just prove".to_owned() } else { format!("just prove --percent {}", args.percent) };
    let bar = ProgressBar::with_draw_target(Some(pieces()), ProgressDrawTarget::stderr());
    bar.set_style(ProgressStyle::with_template("{bar:40} {pos}/{len} {msg} {elapsed}, {eta} to go")?);
    bar.enable_steady_tick(Duration::from_millis(500));
    let (began, on_terminal) = (Instant::now(), std::io::stderr().is_terminal());
    let proof = Proof::run(&size, &|what, pieces| {
        bar.set_message(what.to_owned());
        bar.inc(pieces);
        if !on_terminal {
            out::story(&format!(
                "{:>4} s  {}/{}  {what}",
                began.elapsed().as_secs(),
                bar.position(),
                bar.length().unwrap_or(0)
            ));
        }
    });
    bar.finish_and_clear();
    let plots_in = args.out.join("proof");
    std::fs::create_dir_all(&plots_in).with_context(|| plots_in.display().to_string())?;
    for (name, svg) in plots::all(&proof)? {
        std::fs::write(plots_in.join(name), svg).with_context(|| name.to_owned())?;
    }
    let page = args.out.join("proof.md");
    std::fs::write(&page, document::page(&proof, &command)).with_context(|| page.display().to_string())?;
    let broken: Vec<_> = proof.promises().into_iter().filter(Promise::is_broken).collect();
    for promise in &broken {
        out::story(&format!("broken: {}: {:?}, bound {}", promise.what, promise.count, promise.bound));
    }
    out::story(&format!(
        "{} promises, {} broken, {} s; {}",
        proof.promises().len(),
        broken.len(),
        began.elapsed().as_secs(),
        page.display()
    ));
    Ok(broken.is_empty())
}

fn main() -> ExitCode {
    match prove() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            out::story(&format!("error: {error:#}"));
            ExitCode::from(2)
        }
    }
}
