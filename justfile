# Tasks for people; .ci/run is what the project's checks run.

default:
    @just --list

# All that .ci/run does.
ci:
    bash .ci/run

# The sample hospital.
demo *ARGS:
    cargo run --release -- demo {{ARGS}}

# Tests of everything.
test:
    cargo test --workspace

# Tests of one room.
test-crate CRATE:
    cargo test -p {{CRATE}}

# The fault table of docs/faults.md at full size, with its counts; about two minutes. As root, for the small volumes.
faults:
    cargo test -p ward --test it fault_table -- --include-ignored --nocapture --test-threads 1
    cargo test -p ward-net heads -- --nocapture

# Format and lints, as CI demands them.
lint:
    cargo fmt --all --check
    cargo clippy --workspace --all-targets -- -D warnings

# Lints of one room.
lint-crate CRATE:
    cargo clippy -p {{CRATE}} --all-targets -- -D warnings

# Licences, bans, sources.
deny:
    cargo deny --offline check bans licenses sources

# Regenerates the committed FHIR tables from the official definitions.
tables DATA="../shared/data":
    cargo run -p xtask -- tables --data {{DATA}}

# A second verdict on Ward's certificate chains, by Python's `cryptography` (interop/x509). Installs it into target/.
interop-x509:
    bash interop/x509/check

# Fuzz targets (all, if none is named), each for so many seconds in spare time. Needs a C++ compiler.
fuzz SECONDS="300" *TARGETS:
    bash fuzz/run {{SECONDS}} {{TARGETS}}

# Ward against nginx on this machine, about five minutes; the tables of BENCHMARKS.md. Installs nginx if it is missing.
bench *ARGS:
    command -v nginx >/dev/null || (apt-get update -qq && apt-get install -y --no-install-recommends nginx)
    cargo run --release -p ward-bench --bin ward-bench -- {{ARGS}}

# What it costs to establish trust: registrations, tokens and metadata against their own signatures, growth, and the time to a new
# partner's first data; about five minutes, one page on standard output (`--requests N`, `--partners N`, `--clients N`, `--jtis N`).
bench-trust *ARGS:
    cargo build --release -p ward -p ward-bench
    target/release/ward-bench trust {{ARGS}}

# `ward serve` at half load while its upstream is killed every 90 s (`--out FILE`, `--most N` requests a second).
soak MINUTES="30" *ARGS:
    cargo build --release -p ward -p ward-bench
    target/release/ward-bench soak --minutes {{trim_start_match(MINUTES, "MINUTES=")}} {{ARGS}}

# Ward in front of helios-hfs, with a transcript. Builds hfs (half an hour, once) if HFS=/path/to/hfs is not set. Needs curl.
interop-hfs *ARGS:
    cargo build --release -p ward -p ward-interop
    target/release/ward-interop hfs {{ARGS}}

# Instruction counts of the pure hot functions, under valgrind.
bench-instructions:
    command -v valgrind >/dev/null || (apt-get update -qq && apt-get install -y --no-install-recommends valgrind)
    bash bench/instructions
