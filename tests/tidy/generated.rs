//! Generated files are committed, so that nobody needs a protobuf compiler; this proves them fresh. `just generate`
//! (`BLUEBACK_BLESS=1`) writes them instead.

use std::fs;
use std::path::Path;

use crate::root;

/// What a crate needs of `report.proto`.
enum Part {
    Messages,
    Client,
    Server,
}

const FILE: &str = "blueback.report.v1.rs";
const GENERATED: [(&str, Part); 3] = [
    ("agent/report/src/generated", Part::Messages),
    ("agent/src/generated", Part::Client),
    ("gate/src/generated", Part::Server),
];

fn compile(part: &Part, out: &Path) {
    let files = protox::compile(["report.proto"], [root().join("agent/report/proto")]).expect("report.proto compiles");
    let builder = tonic_prost_build::configure().out_dir(out).emit_rerun_if_changed(false);
    let builder = match part {
        Part::Messages => builder.build_client(false).build_server(false),
        Part::Client => builder.build_client(true).build_server(false).build_transport(false),
        Part::Server => builder.build_client(false).build_server(true).build_transport(false),
    };
    let builder = match part {
        Part::Messages => builder,
        Part::Client | Part::Server => builder.extern_path(".blueback.report.v1", "::blueback_report::wire::proto"),
    };
    builder.compile_fds(files).expect("generated code can be written");
}

#[test]
fn generated_files_are_fresh() {
    let bless = std::env::var_os("BLUEBACK_BLESS").is_some();
    for (folder, part) in GENERATED {
        let committed = root().join(folder);
        if bless {
            fs::create_dir_all(&committed).expect("the folder can be made");
            compile(&part, &committed);
            continue;
        }
        let fresh = Path::new(env!("CARGO_TARGET_TMPDIR")).join(folder);
        fs::create_dir_all(&fresh).expect("the folder can be made");
        compile(&part, &fresh);
        let read = |folder: &Path| fs::read_to_string(folder.join(FILE)).unwrap_or_default();
        assert!(read(&committed) == read(&fresh), "{folder}/{FILE} is stale: run `just generate`");
    }
}
