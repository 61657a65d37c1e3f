//! Times the kernels: `kernels ENCODING,.. M,.. THREADS,.. [PxN] [COLD_MB] [ISA] [SECONDS]`.
//!
//! A line for each combination: the smallest and the median time of a product, its activations' quantization
//! included, with the rates that follow from them. GB/s are those of the encoded bytes. With COLD_MB, products rotate
//! over that many megabytes of distinct weights.

use std::{
    hint::spin_loop,
    sync::{
        Arc, Condvar, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use bitquilt_qmatmul::{Isa, PackedWeight, Par};

/// What the threads of a region run.
#[derive(Clone, Copy)]
struct Region {
    body: *const (dyn Fn(usize, usize) + Sync),
    tasks: usize,
}

// SAFETY: the body is `Sync`, and `Pool::par_for` returns only when no thread runs it any more.
unsafe impl Send for Region {}

struct Shared {
    region: Mutex<(usize, Option<Region>)>,
    wake: Condvar,
    epoch: AtomicUsize,
    next: AtomicUsize,
    busy: AtomicUsize,
}

/// Threads that spin for a region.
struct Pool {
    shared: Arc<Shared>,
    threads: usize,
}

impl Pool {
    fn new(threads: usize) -> Self {
        let shared = Arc::new(Shared {
            region: Mutex::new((0, None)),
            wake: Condvar::new(),
            epoch: AtomicUsize::new(0),
            next: AtomicUsize::new(0),
            busy: AtomicUsize::new(0),
        });
        for worker in 1..threads {
            let shared = Arc::clone(&shared);
            std::thread::spawn(move || work(&shared, worker));
        }
        Self { shared, threads }
    }
}

fn run(shared: &Shared, region: Region, worker: usize) {
    loop {
        let task = shared.next.fetch_add(1, Ordering::Relaxed);
        if task >= region.tasks {
            return;
        }
        // SAFETY: `Pool::par_for` keeps the body alive until every thread is done.
        unsafe { (*region.body)(task, worker) };
    }
}

fn work(shared: &Shared, worker: usize) {
    let mut seen = 0;
    loop {
        let mut spins = 0;
        while shared.epoch.load(Ordering::Acquire) == seen && spins < 100_000 {
            spins += 1;
            spin_loop();
        }
        let mut guard = shared.region.lock().expect("no thread panics");
        while guard.0 == seen {
            guard = shared.wake.wait(guard).expect("no thread panics");
        }
        seen = guard.0;
        let region = guard.1;
        drop(guard);
        match region {
            Some(region) => run(shared, region, worker),
            None => return,
        }
        shared.busy.fetch_sub(1, Ordering::Release);
    }
}

impl Par for Pool {
    fn threads(&self) -> usize {
        self.threads
    }

    fn par_for(&self, tasks: usize, body: &(dyn Fn(usize, usize) + Sync)) {
        if self.threads == 1 || tasks == 1 {
            return (0..tasks).for_each(|task| body(task, 0));
        }
        // SAFETY: the lifetime ends with this call, and no thread has the body by then.
        let body: *const (dyn Fn(usize, usize) + Sync) = unsafe { std::mem::transmute(body) };
        let region = Region { body, tasks };
        self.shared.next.store(0, Ordering::Relaxed);
        self.shared.busy.store(self.threads - 1, Ordering::Relaxed);
        {
            let mut guard = self.shared.region.lock().expect("no thread panics");
            *guard = (guard.0 + 1, Some(region));
            self.shared.epoch.store(guard.0, Ordering::Release);
        }
        self.shared.wake.notify_all();
        run(&self.shared, region, 0);
        while self.shared.busy.load(Ordering::Acquire) > 0 {
            spin_loop();
        }
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        let mut guard = self.shared.region.lock().expect("no thread panics");
        *guard = (guard.0 + 1, None);
        self.shared.epoch.store(guard.0, Ordering::Release);
        drop(guard);
        self.shared.wake.notify_all();
    }
}

/// Encoded rows: real ones where the format has a reference, repeated.
fn encoded(encoding: &str, n: usize, p: usize) -> Vec<u8> {
    let distinct = p.min(32);
    let rows: Vec<f32> =
        (0..distinct * n).map(|i| ((i * 7919 % 10007) as f32 / 5003.0 - 1.0).powi(3)).collect();
    let bytes = match bitquilt_ggml_blocks::format(encoding) {
        Some(format) => {
            let mut bytes = vec![0; format.row_bytes(n).expect("N is whole blocks") * distinct];
            format.quantize(&rows, n, None, &mut bytes);
            bytes
        }
        None => rows.iter().flat_map(|x| x.to_le_bytes()).collect(),
    };
    let row_bytes = bytes.len() / distinct;
    (0..p).flat_map(|row| bytes[row % distinct * row_bytes..][..row_bytes].to_vec()).collect()
}

fn list<T: std::str::FromStr>(text: &str) -> Vec<T> {
    text.split(',').filter_map(|item| item.parse().ok()).collect()
}

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let arg = |i: usize, default: &str| args.get(i).cloned().unwrap_or_else(|| default.to_owned());
    let encodings: Vec<String> = match arg(0, "all").as_str() {
        "all" => bitquilt_qmatmul::encodings().map(str::to_owned).collect(),
        some => list(some),
    };
    let (columns, threads) = (list::<usize>(&arg(1, "1,8,32,512")), list::<usize>(&arg(2, "1,2")));
    let shape: Vec<usize> = arg(3, "4096x4096").split('x').filter_map(|x| x.parse().ok()).collect();
    let (p, n) = (shape[0], shape[1]);
    let cold: usize = arg(4, "0").parse().unwrap_or(0);
    let isa = Isa::by_name(&arg(5, "")).unwrap_or_else(Isa::detect);
    let seconds: f64 = arg(6, "0.4").parse().unwrap_or(0.4);

    println!("# {} p={p} n={n} cold_mb={cold}", isa.name());
    println!(
        "{:8} {:>4} thr {:>10} {:>10} {:>8} {:>8} {:>7} {:>7}",
        "encoding", "m", "min_us", "med_us", "GF_min", "GF_med", "GB_min", "GB_med"
    );
    for encoding in &encodings {
        let bytes = encoded(encoding, n, p);
        let copies = if cold > 0 { ((cold << 20) / bytes.len()).max(2) } else { 1 };
        let all = Pool::new(2);
        let weights: Vec<PackedWeight> = (0..copies)
            .map(|_| PackedWeight::pack(encoding, isa, n, p, &bytes, &all).expect("a valid weight"))
            .collect();
        drop(all);
        for &m in &columns {
            let x: Vec<f32> = (0..m * n).map(|i| (i * 31 % 1009) as f32 / 504.0 - 1.0).collect();
            let format = weights[0].activations();
            let mut activations = vec![0; format.bytes(n, m).expect("it fits")];
            let mut out = vec![0.0; m * p];
            for &threads in &threads {
                let pool = Pool::new(threads);
                let mut times = Vec::new();
                let start = Instant::now();
                while times.len() < 7.max(copies + 2) || start.elapsed() < Duration::from_secs_f64(seconds) {
                    let weight = &weights[times.len() % copies];
                    let start = Instant::now();
                    format.store(n, &x, &mut activations, &pool).expect("valid activations");
                    weight.multiply(&activations, m, &mut out, &pool).expect("a valid product");
                    times.push(start.elapsed().as_secs_f64());
                }
                times.sort_by(f64::total_cmp);
                let (min, median) = (times[0], times[times.len() / 2]);
                let rate = |work: usize, time: f64| work as f64 / time / 1e9;
                println!(
                    "{encoding:8} {m:4} {threads:3} {:10.1} {:10.1} {:8.1} {:8.1} {:7.2} {:7.2}",
                    min * 1e6,
                    median * 1e6,
                    rate(2 * m * n * p, min),
                    rate(2 * m * n * p, median),
                    rate(bytes.len(), min),
                    rate(bytes.len(), median),
                );
            }
        }
    }
}
