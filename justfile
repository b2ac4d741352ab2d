# What CI runs, and what a developer runs before a commit.

# Everything CI checks.
check:
    .ci/run

# All tests, as in the README.
test:
    cargo test --workspace --locked

# Code compiled from report.proto, and the OpenAPI document: write them anew.
generate:
    BLUEBACK_BLESS=1 cargo test --locked -p blueback-tests --test tidy -- generated reference
    BLUEBACK_BLESS=1 cargo test --locked -p blueback-gate --lib committed

# The judge's promises by simulation: writes docs/proof.md and its pictures, in minutes.
prove *args:
    cargo bench --locked -p blueback-tests --bench prove -- {{args}}

# The demo.
demo *args:
    cargo run --bin blueback -- demo {{args}}

# Format everything.
fmt:
    cargo fmt --all
