//! The program; everything is in the library, where fuzz targets reach it, too.

#[global_allocator]
static MEMORY: sys::arena::Arena = sys::arena::Arena;

fn main() -> std::process::ExitCode {
    shim::run()
}
