//! Settings of glibc's allocator, for a daemon that is to stay small. Other C libraries have none of these: there
//! the functions do nothing.

/// Limits how many heaps threads spread over, and how many free bytes (`trim`) are kept at the end of a heap before
/// they go back to the kernel (`mallopt(3)`). To be called before the first thread is started.
pub fn limit(arenas: u16, trim: u32) {
    #[cfg(target_env = "gnu")]
    {
        let trim = i32::try_from(trim).unwrap_or(i32::MAX);
        // SAFETY: mallopt only takes two integers; no other thread runs yet, as the caller promises, and a late call
        // could at worst be lost.
        unsafe {
            libc::mallopt(libc::M_ARENA_MAX, i32::from(arenas));
            libc::mallopt(libc::M_TRIM_THRESHOLD, trim);
        }
    }
    #[cfg(not(target_env = "gnu"))]
    let _ = (arenas, trim);
}

/// Gives free memory back to the kernel (`malloc_trim(3)`), also from the middle of the heaps.
pub fn trim() {
    #[cfg(target_env = "gnu")]
    // SAFETY: malloc_trim takes an integer and may be called from any thread at any time.
    unsafe {
        libc::malloc_trim(0);
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn memory_is_still_usable_afterwards() {
        super::limit(2, 1 << 17);
        let kept = vec![7u8; 1 << 20];
        drop(vec![1u8; 1 << 20]);
        super::trim();
        assert!(kept.iter().all(|byte| *byte == 7));
    }
}
