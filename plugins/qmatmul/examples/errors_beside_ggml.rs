//! The error of `fast` products beside that of ggml's kernels, on the same encoded weights and the same activations.
//!
//! ```text
//! errors_beside_ggml LIBRARIES [--seeds N] [--only ENCODINGS] [--weight FILE.safetensors TENSOR]
//! ```
//!
//! `LIBRARIES` is the directory of ggml's `libggml-base.so` and `libggml-cpu.so`. Weights are normal values, or the matrix that is
//! named; activations are normal values. Errors are root mean squares, over all seeds, against f64 products of the decoded weights
//! and the activations. Ends with 1 where an error is more than [`LIMIT`] times ggml's. `tests/peers/accuracy.sh` finds the libraries.

#![allow(clippy::unwrap_used, reason = "a tool for developers: a panic is its error message")]

#[path = "../tests/encoded/mod.rs"]
mod encoded;
#[path = "../tests/random/mod.rs"]
mod random;

use std::ffi::{c_char, c_int, c_void};
use std::path::Path;
use std::process::ExitCode;

use bitquilt_ggml_blocks::Format;
use bitquilt_kernels::{Isa, PackedWeight, Serial};
use bitquilt_plugin_api::PreparedMemory;
use bitquilt_qmatmul::named;
use encoded::quantized;
use libloading::Library;
use random::normal;

const USAGE: &str =
    "errors_beside_ggml LIBRARIES [--seeds N] [--only ENCODINGS] [--weight FILE.safetensors TENSOR]";

/// Rows of a random weight, and values of each.
const ROWS: usize = 1024;
const ROW_LEN: usize = 1024;

/// Columns of activations: what a kernel for one, and one for many, computes.
const COLUMNS: [usize; 2] = [1, 33];

/// Of ggml's error.
const LIMIT: f64 = 1.02;

/// `struct ggml_init_params`.
#[repr(C)]
struct InitParams {
    mem_size: usize,
    mem_buffer: *mut c_void,
    no_alloc: bool,
}

/// ggml's processor backend.
struct Ggml {
    base: Library,
    cpu: Library,
}

impl Ggml {
    fn open(directory: &Path) -> Self {
        // SAFETY: ggml's libraries have constructors of C++'s standard library alone.
        let [base, cpu] = ["libggml-base.so", "libggml-cpu.so"]
            .map(|name| unsafe { Library::new(directory.join(name)) }.unwrap());
        Self { base, cpu }
    }

    /// `ggml_mul_mat` of a weight of `row_len` values a row and rows of as many activations, on one thread.
    fn multiply(&self, kind: c_int, row_len: usize, weight: &[u8], rows: usize, x: &[f32]) -> Vec<f32> {
        let m = x.len() / row_len;
        type Init = unsafe extern "C" fn(InitParams) -> *mut c_void;
        type Tensor2d = unsafe extern "C" fn(*mut c_void, c_int, i64, i64) -> *mut c_void;
        type MulMat = unsafe extern "C" fn(*mut c_void, *mut c_void, *mut c_void) -> *mut c_void;
        type Compute = unsafe extern "C" fn(*mut c_void, *mut c_void, c_int) -> c_int;
        // What tensors and graphs take beside their data, and what the backend quantizes activations to.
        let mem_size = weight.len() + 4 * (2 * x.len() + rows * m) + (16 << 20);
        // SAFETY: these are the signatures in ggml.h and ggml-cpu.h; tensors belong to the context, which is freed last, and have
        // as many bytes as `ggml_nbytes` says.
        unsafe {
            let init = self.base.get::<Init>(b"ggml_init").unwrap();
            let free = self.base.get::<unsafe extern "C" fn(*mut c_void)>(b"ggml_free").unwrap();
            let tensor = self.base.get::<Tensor2d>(b"ggml_new_tensor_2d").unwrap();
            let bytes =
                self.base.get::<unsafe extern "C" fn(*const c_void) -> usize>(b"ggml_nbytes").unwrap();
            let data = self
                .base
                .get::<unsafe extern "C" fn(*const c_void) -> *mut c_char>(b"ggml_get_data")
                .unwrap();
            let mul_mat = self.base.get::<MulMat>(b"ggml_mul_mat").unwrap();
            let graph =
                self.base.get::<unsafe extern "C" fn(*mut c_void) -> *mut c_void>(b"ggml_new_graph").unwrap();
            let expand = self
                .base
                .get::<unsafe extern "C" fn(*mut c_void, *mut c_void)>(b"ggml_build_forward_expand")
                .unwrap();
            let compute = self.cpu.get::<Compute>(b"ggml_graph_compute_with_ctx").unwrap();

            let context = init(InitParams { mem_size, mem_buffer: std::ptr::null_mut(), no_alloc: false });
            let w = tensor(context, kind, row_len as i64, rows as i64);
            assert_eq!(bytes(w), weight.len());
            std::ptr::copy_nonoverlapping(weight.as_ptr(), data(w).cast(), weight.len());
            let columns = tensor(context, 0, row_len as i64, m as i64);
            assert_eq!(bytes(columns), size_of_val(x));
            std::ptr::copy_nonoverlapping(x.as_ptr(), data(columns).cast(), x.len());
            let product = mul_mat(context, w, columns);
            let graph = graph(context);
            expand(graph, product);
            assert_eq!(compute(context, graph, 1), 0, "ggml computes");
            let mut out = vec![0.0f32; rows * m];
            assert_eq!(bytes(product), size_of_val(&out[..]));
            std::ptr::copy_nonoverlapping(data(product).cast(), out.as_mut_ptr(), out.len());
            free(context);
            out
        }
    }
}

/// Our product, by the kernels that `fast` takes on this machine.
fn multiply(encoding: &str, row_len: usize, weight: &[u8], rows: usize, x: &[f32]) -> Vec<f32> {
    let m = x.len() / row_len;
    let weight = PackedWeight::pack(
        named(encoding).unwrap(),
        Isa::detect(),
        row_len,
        rows,
        weight,
        &Serial,
        PreparedMemory::on_heap,
    )
    .unwrap();
    let layout = weight.activations();
    let mut activations = vec![0; layout.bytes(row_len, m).unwrap()];
    layout.store(Isa::detect(), row_len, x, &mut activations, &Serial).unwrap();
    let mut out = vec![0.0; m * rows];
    weight.multiply(&activations, m, &mut out, &Serial).unwrap();
    out
}

/// In f64, as the kernels lay their results out.
fn exact(row_len: usize, weight: &[f32], x: &[f32]) -> Vec<f64> {
    let dot = |row: &[f32], column: &[f32]| -> f64 {
        let mut sums = [0.0; 8];
        for (row, column) in row.as_chunks::<8>().0.iter().zip(column.as_chunks::<8>().0) {
            (0..8).for_each(|i| sums[i] += f64::from(row[i]) * f64::from(column[i]));
        }
        sums.iter().sum()
    };
    let columns = x.chunks_exact(row_len);
    columns.flat_map(|column| weight.chunks_exact(row_len).map(move |row| dot(row, column))).collect()
}

fn squares(got: &[f32], exact: &[f64]) -> f64 {
    got.iter().zip(exact).map(|(&got, exact)| (f64::from(got) - exact).powi(2)).sum()
}

/// What the command line asks for.
struct Arguments {
    libraries: String,
    seeds: u64,
    only: Option<String>,
    /// The values of a matrix, and how many a row has.
    weight: Option<(Vec<f32>, usize)>,
}

fn parse(mut words: impl Iterator<Item = String>) -> Option<Arguments> {
    let mut arguments = Arguments { libraries: words.next()?, seeds: 10, only: None, weight: None };
    while let Some(word) = words.next() {
        match word.as_str() {
            "--seeds" => arguments.seeds = words.next()?.parse().ok()?,
            "--only" => arguments.only = Some(words.next()?),
            "--weight" => arguments.weight = Some(matrix(&words.next()?, &words.next()?)),
            _ => return None,
        }
    }
    Some(arguments)
}

/// An f32 matrix of a file.
fn matrix(file: &str, name: &str) -> (Vec<f32>, usize) {
    let bytes = std::fs::read(file).unwrap();
    let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let tensor = file.tensor(name).unwrap();
    assert_eq!(tensor.dtype(), safetensors::Dtype::F32, "{name}");
    let &[_, row_len] = tensor.shape() else { panic!("{name} is not a matrix") };
    (tensor.data().as_chunks::<4>().0.iter().map(|&x| f32::from_le_bytes(x)).collect(), row_len)
}

/// The encoded bytes, and what they decode to.
fn encode(format: &Format, values: &[f32], row_len: usize) -> (Vec<u8>, Vec<f32>) {
    let bytes = quantized(format, values, row_len);
    let mut decoded = vec![0.0; values.len()];
    format.dequantize(&bytes, &mut decoded);
    (bytes, decoded)
}

/// The squares of our errors and of ggml's, and how many, of one seed.
fn compare(ggml: &Ggml, format: &Format, values: &[f32], row_len: usize, x: &[f32]) -> [f64; 3] {
    let rows = values.len() / row_len;
    let (bytes, decoded) = encode(format, values, row_len);
    let exact = exact(row_len, &decoded, x);
    let ours = multiply(format.name, row_len, &bytes, rows, x);
    let theirs = ggml.multiply(format.ggml_type as c_int, row_len, &bytes, rows, x);
    [squares(&ours, &exact), squares(&theirs, &exact), exact.len() as f64]
}

fn main() -> ExitCode {
    let arguments = parse(std::env::args().skip(1)).expect(USAGE);
    let ggml = Ggml::open(Path::new(&arguments.libraries));
    let selected =
        |name: &str| arguments.only.as_ref().is_none_or(|only| only.split(',').any(|word| word == name));
    let mut worse = false;
    println!("| encoding | m | RMS error | ggml's | ratio |\n|---|---|---|---|---|");
    // f32 is no format, and has no `fast` products.
    let formats = bitquilt_qmatmul::encodings().filter_map(bitquilt_ggml_blocks::format);
    for format in formats.filter(|format| selected(format.name)) {
        for m in COLUMNS {
            let mut sums = [0.0; 3];
            for seed in 1..=arguments.seeds {
                let random;
                let (values, row_len) = match &arguments.weight {
                    Some((values, row_len)) => (values, *row_len),
                    None => {
                        random = normal(seed, ROWS * ROW_LEN, 12);
                        (&random, ROW_LEN)
                    }
                };
                let x = normal(seed + 1000, m * row_len, 12);
                let one = compare(&ggml, format, values, row_len, &x);
                sums.iter_mut().zip(one).for_each(|(sum, one)| *sum += one);
            }
            let [ours, theirs] = [sums[0], sums[1]].map(|sum| (sum / sums[2]).sqrt());
            let is_worse = ours > LIMIT * theirs;
            worse |= is_worse;
            let mark = if is_worse { " (worse)" } else { "" };
            let (name, ratio) = (format.name, ours / theirs);
            println!("| {name} | {m} | {ours:.3e} | {theirs:.3e} | {ratio:.3}{mark} |");
        }
    }
    if worse {
        eprintln!("an error is more than {LIMIT} times ggml's");
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}
