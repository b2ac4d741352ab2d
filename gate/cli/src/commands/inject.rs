//! `blueback inject`: manifests in, manifests with agents out.

use std::io::Read as _;

use blueback_agent::spans;
use blueback_gate::kubernetes::inject::InjectionSettings;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use crate::args::InjectArgs;
use crate::exit::{Exit, Failure};
use crate::manifests::{self, Wanted};
use crate::out;

pub(super) fn run(args: InjectArgs) -> Result<Exit, Failure> {
    let input = match args.file.as_deref() {
        Some(file) if file.as_os_str() != "-" => std::fs::read_to_string(file)
            .map_err(|error| Failure::usage(format!("--file {}: {error}", file.display())))?,
        _ => {
            let mut text = String::new();
            std::io::stdin().read_to_string(&mut text).map_err(|error| Failure::usage(format!("stdin: {error}")))?;
            text
        }
    };
    let ca_pem = args.ca_file.as_deref().map(|file| {
        std::fs::read_to_string(file).map_err(|error| Failure::usage(format!("--ca-file {}: {error}", file.display())))
    });
    if let Some(url) = args.agent_otlp.as_deref().filter(|url| spans::collector(url).is_none()) {
        return Err(Failure::usage(format!("--agent-otlp: '{url}' is none; accepted: {}", spans::COLLECTOR)));
    }
    let port = args.port.as_deref().map(|port| match port.parse() {
        Ok(number) => IntOrString::Int(number),
        Err(_) => IntOrString::String(port.to_owned()),
    });
    let settings = InjectionSettings {
        gate: args.release_gate.unwrap_or_else(|| args.service.clone()),
        namespace: None,
        target: IntOrString::Int(0),
        redirect: args.redirect,
        image: args.image,
        resources: None,
        dependencies: args.dependency,
        gate_url: args.gate_url,
        ca_pem: ca_pem.transpose()?,
        otlp: args.agent_otlp,
    };
    let wanted = Wanted { service: args.service, port, namespace: args.namespace, settings };
    let rewritten = manifests::rewrite(&input, &wanted).map_err(Failure::Usage)?;
    for note in &rewritten.notes {
        out::story(note);
    }
    out::text(&rewritten.text);
    Ok(Exit::Passed)
}
