//! Memory that begins with a cache line.

use crate::simd::CACHE_LINE;
use std::ops::{Deref, DerefMut};

/// Values of which the first begins a cache line, but for those that were a vector before. A vector that lies in two lines costs
/// twice as much to read or write, and with AVX-512 each does if memory begins anywhere else: allocators begin large blocks 16 bytes
/// behind a page.
pub struct Aligned<T> {
    memory: Vec<T>,
    start: usize,
    len: usize,
}

impl<T> Aligned<T> {
    /// Nothing.
    pub const fn new() -> Aligned<T> {
        Aligned { memory: Vec::new(), start: 0, len: 0 }
    }
}

impl<T: Copy + Default> Aligned<T> {
    /// `len` zeros.
    pub fn zeros(len: usize) -> Aligned<T> {
        const { assert!(size_of::<T>() > 0 && CACHE_LINE.is_multiple_of(size_of::<T>())) };
        let memory = vec![T::default(); len + CACHE_LINE / size_of::<T>()];
        let start = memory.as_ptr().align_offset(CACHE_LINE);
        Aligned { memory, start, len }
    }

    /// Makes it `len` values, whichever.
    pub fn resize(&mut self, len: usize) {
        if self.start + len <= self.memory.len() {
            self.len = len;
        } else {
            // first the old memory, so that never both are there
            *self = Aligned::new();
            *self = Aligned::zeros(len);
        }
    }

    /// Makes it `len` zeros.
    pub fn reset(&mut self, len: usize) {
        self.resize(len);
        self.fill(T::default());
    }
}

impl<T> Default for Aligned<T> {
    fn default() -> Aligned<T> {
        Aligned::new()
    }
}

impl<T> Deref for Aligned<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        &self.memory[self.start..][..self.len]
    }
}

impl<T> DerefMut for Aligned<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        &mut self.memory[self.start..][..self.len]
    }
}

/// Without copying: these begin wherever they begin.
impl<T> From<Vec<T>> for Aligned<T> {
    fn from(memory: Vec<T>) -> Aligned<T> {
        let len = memory.len();
        Aligned { memory, start: 0, len }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_begin_with_a_line_also_after_growing() {
        let mut values: Aligned<u16> = Aligned::new();
        for len in [1, 40, 1 << 20, 3, 4096] {
            values.resize(len);
            assert_eq!((values.len(), values.as_ptr() as usize % CACHE_LINE), (len, 0));
            values.fill(7);
        }
        values.reset(50);
        assert_eq!(&*values, [0; 50]);
        assert_eq!(*Aligned::from(vec![1.0f32, 2.0]), [1.0, 2.0]);
    }
}
