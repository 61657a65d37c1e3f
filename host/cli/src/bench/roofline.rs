//! What this machine can do at most: the limits that a product's rate is held against.
//!
//! Each figure is the median of several rounds in which all threads run the same loop at the same time. Loops that read run in
//! three ways, and the best counts: a machine's limit is not what one way of reading happens to reach.

use std::{
    hint::{black_box, spin_loop},
    io,
    sync::atomic::{AtomicUsize, Ordering},
    time::{Duration, Instant},
};

use bitquilt::plugin_api::Error;
use bitquilt_kernels::{AnyDot, Body, CodeSource, DotIsa, Isa, KernelError, MAX_LANES, STEP, StripForm};
use memmap2::MmapMut;

/// Rounds of a measurement.
const ROUNDS: usize = 9;

/// The shortest time of a round.
const ROUND: Duration = Duration::from_millis(4);

/// How far ahead a loop that prefetches does so, in bytes.
const AHEAD: usize = 4096;

/// A multiplication and an addition are two operations.
const OPERATIONS: f64 = 2.0;

/// Billions of operations a second of products of bytes, on `threads` threads: `isa`'s dot product instruction, on registers.
///
/// # Errors
/// When the machine does not have the instruction set.
pub fn dot_rate(isa: Isa, threads: usize) -> Result<f64, KernelError> {
    peak(isa, threads, Work::Dot)
}

/// Billions of operations a second of fused multiplications and additions of f32, on `threads` threads, on registers.
///
/// # Errors
/// When the machine does not have the instruction set.
pub fn fma_rate(isa: Isa, threads: usize) -> Result<f64, KernelError> {
    peak(isa, threads, Work::Fma)
}

/// Billions of operations a second of products of pairs of bfloat16, on `threads` threads, on registers.
///
/// # Errors
/// When the machine does not have the instruction set.
pub fn bf16_rate(isa: Isa, threads: usize) -> Result<f64, KernelError> {
    peak(isa, threads, Work::Bf16)
}

/// Billions of bytes a second that `threads` threads read of `bytes` bytes, each a part of its own, over and over.
///
/// The memory is on large pages where the system has them. So many bytes as a cache holds give the cache's rate.
///
/// # Errors
/// When the machine does not have the instruction set, or the system has no memory.
pub fn read_rate(isa: Isa, bytes: usize, threads: usize) -> Result<f64, KernelError> {
    let isa = AnyDot::of(isa.check()?);
    let threads = threads.max(1);
    // Whole steps of every loop, on every thread.
    let part = (bytes / threads).next_multiple_of(READ_STEP);
    let no_memory = |error: io::Error| KernelError::Memory(Error::failed(error));
    let mut memory = MmapMut::map_anon(part.saturating_mul(threads)).map_err(no_memory)?;
    // Without large pages the rate is a little lower.
    #[cfg(target_os = "linux")]
    let _ = memory.advise(memmap2::Advice::HugePage);
    // Pages that were never written are all one page of zeros.
    memory.fill(1);
    let memory = &memory[..];
    let rate = |way| {
        let repeat = |thread: usize, repeats: usize| {
            for _ in 0..repeats {
                let part = &memory[thread * part..][..part];
                isa.run(Read { part, way });
            }
        };
        memory.len() as f64 / seconds_a_repeat(threads, &repeat) / 1e9
    };
    Ok([Way::Plain, Way::Prefetch, Way::Streams].map(rate).into_iter().fold(0.0, f64::max))
}

/// What a loop on registers does.
#[derive(Clone, Copy)]
enum Work {
    Dot,
    Bf16,
    Fma,
}

fn peak(isa: Isa, threads: usize, work: Work) -> Result<f64, KernelError> {
    let isa = AnyDot::of(isa.check()?);
    let threads = threads.max(1);
    let operations = AtomicUsize::new(0);
    let repeat = |_: usize, repeats: usize| {
        isa.run(Peak { work, repeats, operations: &operations });
    };
    let seconds = seconds_a_repeat(threads, &repeat);
    Ok((threads * operations.into_inner()) as f64 * OPERATIONS / seconds / 1e9)
}

/// Seconds that `repeat(thread, repeats)` takes for one repeat, on all threads at once: the median of the rounds.
fn seconds_a_repeat(threads: usize, repeat: &(dyn Fn(usize, usize) + Sync)) -> f64 {
    let mut repeats = 1;
    loop {
        let times = rounds(threads, 2, &|thread| repeat(thread, repeats));
        match times[1] {
            time if time >= ROUND => break,
            time => {
                let more = ROUND.as_secs_f64() / time.as_secs_f64().max(1e-7);
                repeats = ((repeats as f64 * more * 1.1) as usize).max(repeats + 1);
            }
        }
    }
    let mut times = rounds(threads, ROUNDS, &|thread| repeat(thread, repeats));
    times.sort_unstable();
    times[ROUNDS / 2].as_secs_f64() / repeats as f64
}

/// Times of rounds in which all threads call `body`.
fn rounds(threads: usize, rounds: usize, body: &(dyn Fn(usize) + Sync)) -> Vec<Duration> {
    let arrived = AtomicUsize::new(0);
    // Waits until all threads have come here for the `count`th time.
    let meet = |count: usize| {
        arrived.fetch_add(1, Ordering::AcqRel);
        while arrived.load(Ordering::Acquire) < count * threads {
            spin_loop();
        }
    };
    let work = |thread: usize| {
        (0..rounds)
            .map(|round| {
                meet(2 * round + 1);
                let start = Instant::now();
                body(thread);
                meet(2 * round + 2);
                start.elapsed()
            })
            .collect()
    };
    std::thread::scope(|scope| {
        for thread in 1..threads {
            let work = &work;
            scope.spawn(move || -> Vec<Duration> { work(thread) });
        }
        work(0)
    })
}

/// A loop on registers alone.
struct Peak<'a> {
    work: Work,
    repeats: usize,
    /// Is set to the multiplications of one repeat.
    operations: &'a AtomicUsize,
}

/// Sums that are independent of each other, so that none waits for its last addition.
const SUMS: usize = 12;

/// Steps of a repeat.
const STEPS: usize = 64;

/// The same codes, whichever are asked for.
struct Same<I: DotIsa>(I::Codes);

impl<I: DotIsa> CodeSource<I> for Same<I> {
    #[inline(always)]
    fn codes(&self, _: I, _: usize) -> I::Codes {
        self.0
    }
}

impl Body for Peak<'_> {
    type Output = ();

    #[inline(always)]
    fn run<I: DotIsa>(self, isa: I) {
        match self.work {
            Work::Dot => {
                self.operations.store(STEPS * SUMS * STEP * 4 * I::LANES, Ordering::Relaxed);
                let x = [[1u8; 32]; 4];
                let codes = [Same::<I>(isa.splat(3)), Same(isa.splat(3)), Same(isa.splat(3))];
                let mut sums = [[isa.splat_i32(0); 4]; SUMS / 4];
                for _ in 0..self.repeats {
                    for _ in 0..STEPS {
                        isa.dot::<StripForm<1, 0, 4>, _, { SUMS / 4 }, 4>(
                            &mut sums,
                            &codes,
                            0,
                            black_box(&x),
                        );
                    }
                }
                for sum in sums.as_flattened() {
                    black_box(lanes(isa, isa.to_f32(*sum)));
                }
            }
            Work::Bf16 => {
                self.operations.store(STEPS * SUMS * 2 * I::LANES, Ordering::Relaxed);
                let pair = isa.splat_f32(black_box(1.0));
                let mut sums = [isa.splat_f32(0.0); SUMS];
                for _ in 0..self.repeats {
                    for _ in 0..STEPS {
                        for sum in &mut sums {
                            *sum = isa.dot_bf16(pair, pair, *sum);
                        }
                    }
                }
                for sum in sums {
                    black_box(lanes(isa, sum));
                }
            }
            Work::Fma => {
                self.operations.store(STEPS * SUMS * I::LANES, Ordering::Relaxed);
                let factor = isa.splat_f32(black_box(1.0));
                let mut sums = [isa.splat_f32(0.0); SUMS];
                for _ in 0..self.repeats {
                    for _ in 0..STEPS {
                        for sum in &mut sums {
                            *sum = isa.fma(factor, factor, *sum);
                        }
                    }
                }
                for sum in sums {
                    black_box(lanes(isa, sum));
                }
            }
        }
    }
}

/// A register's floats.
#[inline(always)]
fn lanes<I: DotIsa>(isa: I, register: I::F32) -> [f32; MAX_LANES] {
    let mut lanes = [0.0; MAX_LANES];
    isa.store_f32(&mut lanes, register);
    lanes
}

/// A way to read.
#[derive(Clone, Copy)]
enum Way {
    /// From the first byte to the last.
    Plain,
    /// The same, asking for what comes later.
    Prefetch,
    /// In several places by turns.
    Streams,
}

/// Registers that a step of a loop reads.
const READ_REGISTERS: usize = 8;

/// Bytes that every loop reads a whole number of times on every instruction set.
const READ_STEP: usize = READ_REGISTERS * 4 * MAX_LANES;

/// Reads all of `part`, whose length is a multiple of [`READ_STEP`].
struct Read<'a> {
    part: &'a [u8],
    way: Way,
}

impl Body for Read<'_> {
    type Output = ();

    #[inline(always)]
    fn run<I: DotIsa>(self, isa: I) {
        let register = 4 * I::LANES;
        let (step, apart) = match self.way {
            Way::Streams => (register, self.part.len() / READ_REGISTERS),
            _ => (READ_REGISTERS * register, register),
        };
        // As many as there are streams, of which each is a whole number of steps: the length is a multiple of `READ_STEP`.
        let mut streams = [self.part; READ_REGISTERS];
        for (i, stream) in streams.iter_mut().enumerate() {
            *stream = &self.part[apart * i..];
        }
        let steps = self.part.len() / (READ_REGISTERS * register);
        let mut seen = [isa.splat(0); READ_REGISTERS];
        for at in (0..steps).map(|index| index * step) {
            for i in 0..READ_REGISTERS {
                let from = &streams[i][at..];
                if matches!(self.way, Way::Prefetch) {
                    isa.prefetch(from.as_ptr().wrapping_add(AHEAD));
                }
                seen[i] = isa.or(seen[i], isa.load(from));
            }
        }
        let mut all = seen[0];
        for seen in seen {
            all = isa.or(all, seen);
        }
        let mut bytes = [0u8; 4 * MAX_LANES];
        isa.store(&mut bytes, all);
        black_box(bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_positive_on_every_instruction_set() {
        for isa in Isa::available() {
            let peaks = [dot_rate(isa, 1), bf16_rate(isa, 1), fma_rate(isa, 2)];
            for rate in peaks.into_iter().chain([read_rate(isa, 100_000, 2), read_rate(isa, 1, 1)]) {
                let rate = rate.unwrap();
                assert!(rate.is_finite() && rate > 0.0, "{isa:?}: {rate}");
            }
        }
    }

    #[test]
    fn what_the_machine_does_not_have_is_an_error() {
        let missing = if cfg!(target_arch = "x86_64") { Isa::Neon } else { Isa::Avx2 };
        assert!(dot_rate(missing, 1).is_err() && read_rate(missing, 64, 1).is_err());
        assert!(matches!(read_rate(Isa::Scalar, usize::MAX / 4, 2), Err(KernelError::Memory(_))));
    }
}
