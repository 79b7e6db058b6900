//! The program `rift-runtime`.

fn main() {
    rift_runtime::session::library::silence_telemetry();
}
