//! The daemon, with the capabilities of this repository.

fn main() -> std::process::ExitCode {
    llm_os_host::main()
}
