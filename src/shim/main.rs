//! The program; everything is in the library, where fuzz targets reach it, too.

fn main() -> std::process::ExitCode {
    shim::run()
}
