//! The child process of the tests' probes.

fn main() {
    bitquilt::plugin::child_main();
    eprintln!("this program does nothing but load plugins for a probe");
    std::process::exit(2);
}
