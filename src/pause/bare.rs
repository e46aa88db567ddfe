//! What std and libc would have brought: an entry point, an end, and a panic handler that is never used.

use crate::kernel;

/// Where the kernel starts the program: with an aligned stack, and without a return address. At its top lies the number of
/// arguments; what they are is of no interest.
#[unsafe(naked)]
#[unsafe(no_mangle)]
extern "C" fn pause_start() -> ! {
    #[cfg(target_arch = "x86_64")]
    core::arch::naked_asm!("xor ebp, ebp", "mov rdi, [rsp]", "call {}", sym run);
    #[cfg(target_arch = "aarch64")]
    core::arch::naked_asm!("mov x29, xzr", "ldr x0, [sp]", "bl {}", sym run);
}

extern "C" fn run(arguments: usize) -> ! {
    exit(crate::run(arguments))
}

fn exit(code: usize) -> ! {
    loop {
        kernel::call(kernel::EXIT_GROUP, [code, 0, 0, 0]);
    }
}

#[panic_handler]
fn on_panic(_: &core::panic::PanicInfo<'_>) -> ! {
    exit(70)
}
