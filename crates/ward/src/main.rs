//! The `ward` command.

fn main() -> std::process::ExitCode {
    ward::main()
}
