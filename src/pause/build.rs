//! Tells the size-optimised build (the `shim` profile) from the others. Only there the pause does without std
//! and libc, which takes a panic strategy and link arguments that checks and tests of the workspace, with
//! their own profiles, must not see.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rustc-check-cfg=cfg(bare)");
    let var = |name: &str| std::env::var(name).unwrap_or_default();
    let known = matches!(var("CARGO_CFG_TARGET_ARCH").as_str(), "x86_64" | "aarch64");
    if var("OPT_LEVEL") == "s" && known {
        println!("cargo::rustc-cfg=bare");
        // The start files of the C library stay out: the program has an entry point of its own.
        for argument in ["-nostartfiles", "-nostdlib", "-static", "-Wl,-e,pause_start", "-Wl,--build-id=none"]
        {
            println!("cargo::rustc-link-arg-bins={argument}");
        }
        // Headers and code share one page of the file.
        for argument in ["-Wl,-z,noseparate-code", "-Wl,-z,max-page-size=4096", "-Wl,--gc-sections"] {
            println!("cargo::rustc-link-arg-bins={argument}");
        }
    }
}
