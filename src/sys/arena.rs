//! Memory for processes that are forked to execute a program: they need little, for a short time.
//!
//! A fork makes every page a shared one, which is copied where either process writes to it, and the C library's allocator
//! writes to many. So a child takes its memory from a region that its parent has never touched, one piece behind the other,
//! and gives back only what it took last. Whatever finds no place there is the C library's matter.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::UnsafeCell;
use std::sync::atomic::{AtomicUsize, Ordering};

const SIZE: usize = 128 << 10;

/// Nothing but zeros at first, which take no memory.
#[repr(align(4096))]
struct Region {
    bytes: UnsafeCell<[u8; SIZE]>,
    /// So many are taken; [`CLOSED`] in a process that is no such child.
    taken: AtomicUsize,
}

const CLOSED: usize = 0;
/// What is taken at first, so that it is not [`CLOSED`].
const BEGIN: usize = ALIGNMENT;
/// That of every piece at least, which C libraries promise and whoever talks to them counts on.
const ALIGNMENT: usize = 16;

// SAFETY: a piece of `bytes` is handed out to one caller, and nobody else looks at it.
unsafe impl Sync for Region {}

static REGION: Region = Region { bytes: UnsafeCell::new([0; SIZE]), taken: AtomicUsize::new(CLOSED) };

/// In a child that was just forked: from now on the region is used.
pub(crate) fn open() {
    // The child of such a child goes on behind what that one has taken.
    let _ = REGION.taken.compare_exchange(CLOSED, BEGIN, Ordering::Relaxed, Ordering::Relaxed);
}

impl Region {
    fn begin(&self) -> *mut u8 {
        self.bytes.get().cast()
    }

    /// Where a piece begins; `None` for what is not of the region.
    fn offset(&self, piece: *mut u8) -> Option<usize> {
        piece.addr().checked_sub(self.begin().addr()).filter(|offset| *offset < SIZE)
    }

    fn take(&self, layout: Layout) -> Option<*mut u8> {
        let mut taken = self.taken.load(Ordering::Acquire);
        loop {
            let address =
                (self.begin().addr() + taken).checked_next_multiple_of(layout.align().max(ALIGNMENT))?;
            let start = address - self.begin().addr();
            let end = start.checked_add(layout.size()).filter(|end| taken != CLOSED && *end <= SIZE)?;
            match self.taken.compare_exchange_weak(taken, end, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => return Some(self.begin().wrapping_add(start)),
                Err(other) => taken = other,
            }
        }
    }

    /// Has the piece that was taken last end elsewhere; `false` for another, and where there is no room.
    fn resize(&self, start: usize, old: usize, new: usize) -> bool {
        start.checked_add(new).filter(|end| *end <= SIZE).is_some_and(|end| {
            self.taken.compare_exchange(start + old, end, Ordering::AcqRel, Ordering::Relaxed).is_ok()
        })
    }
}

/// An allocator: the C library's, and in forked children the region.
#[derive(Debug)]
pub struct Arena;

// SAFETY: pieces of the region are disjoint, aligned and as long as asked for, and the region outlives them; all others are
// the system's, to which they are given back.
unsafe impl GlobalAlloc for Arena {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller keeps the contract of this function, which is that of the other.
        REGION.take(layout).unwrap_or_else(|| unsafe { System.alloc(layout) })
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        match REGION.take(layout) {
            Some(piece) => {
                // What was given back is taken again. SAFETY: the piece is as long as that, and the caller's alone.
                unsafe { piece.write_bytes(0, layout.size()) };
                piece
            }
            // SAFETY: the caller keeps the contract of this function, which is that of the other.
            None => unsafe { System.alloc_zeroed(layout) },
        }
    }

    unsafe fn dealloc(&self, piece: *mut u8, layout: Layout) {
        match REGION.offset(piece) {
            Some(start) => drop(REGION.resize(start, layout.size(), 0)),
            // SAFETY: it is not the region's, so the system has handed it out.
            None => unsafe { System.dealloc(piece, layout) },
        }
    }

    unsafe fn realloc(&self, piece: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        let Some(start) = REGION.offset(piece) else {
            // SAFETY: it is not the region's, so the system has handed it out.
            return unsafe { System.realloc(piece, layout, size) };
        };
        if REGION.resize(start, layout.size(), size) || size <= layout.size() {
            return piece;
        }
        // SAFETY: the caller vouches that the size is one for this alignment.
        let another = unsafe { self.alloc(Layout::from_size_align_unchecked(size, layout.align())) };
        if !another.is_null() {
            // SAFETY: both are as long as the shorter one, which is the old one, and disjoint.
            unsafe { another.copy_from_nonoverlapping(piece, layout.size()) };
        }
        another
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn pieces_are_disjoint_aligned_and_grow_in_place() {
        let layout = |size, align| Layout::from_size_align(size, align).unwrap();
        // SAFETY: none is empty, each is freed or resized as it was allocated, and written to within its length.
        unsafe {
            let before = Arena.alloc(layout(8, 8));
            assert_eq!(REGION.offset(before), None, "not open yet");
            open();
            let small = Arena.alloc(layout(3, 1));
            let aligned = Arena.alloc(layout(100, 64));
            assert!(
                aligned.addr() % 64 == 0
                    && small.addr() % ALIGNMENT == 0
                    && small.addr() + 3 <= aligned.addr()
            );
            small.write_bytes(1, 3);
            aligned.write_bytes(2, 100);
            assert_eq!(
                Arena.realloc(aligned, layout(100, 64), 5000),
                aligned,
                "the last one grows where it is"
            );
            let moved = Arena.realloc(small, layout(3, 1), 30);
            assert!(moved != small && std::slice::from_raw_parts(moved, 3) == [1; 3]);
            moved.write_bytes(3, 30);
            Arena.dealloc(moved, layout(30, 1));
            let zeroed = Arena.alloc_zeroed(layout(30, 1));
            assert!(zeroed == moved && std::slice::from_raw_parts(zeroed, 30) == [0; 30]);
            let large = Arena.alloc(layout(SIZE, 16));
            assert_eq!(REGION.offset(large), None, "there is no room for it");
            let larger = Arena.realloc(large, layout(SIZE, 16), 2 * SIZE);
            Arena.dealloc(larger, layout(2 * SIZE, 16));
            Arena.dealloc(before, layout(8, 8));
            assert_eq!(std::slice::from_raw_parts(aligned, 100), [2; 100]);
        }
    }
}
