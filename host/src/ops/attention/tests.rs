use super::*;
use crate::ops::testing::{Ops, assert_close, at, check_inference, indices, noise, none};
use crate::{Attributes, Tensor};

fn causal() -> Attributes {
    Attributes::new().with("causal", true)
}

/// The formula in f64. `seen(batch, query)` is how many keys a query sees.
fn formula(
    [q, k, v]: [&Tensor; 3],
    seen: impl Fn(usize, usize) -> usize,
    mask: Option<&Tensor>,
    scale: f64,
) -> Vec<f64> {
    let dims = Dims::of(q.shape(), k.shape(), v.shape());
    let lead = q.shape().len() - 3;
    let rows: Vec<Vec<usize>> = indices(&q.shape()[..lead + 2]).collect();
    let mut output = Vec::new();
    for (flat, row) in rows.iter().enumerate() {
        let (query, head) = (row[lead], row[lead + 1]);
        let kv_head = head / dims.group();
        let keys = seen(flat / (dims.seq * dims.heads), query);
        let place = |key: usize, value: usize| [&row[..lead], &[key, kv_head, value]].concat();
        let scores: Vec<f64> = (0..keys)
            .map(|key| {
                let product: f64 = (0..dims.n)
                    .map(|i| {
                        let own = at::<f32>(q, &[&row[..], &[i]].concat());
                        f64::from(own) * f64::from(at::<f32>(k, &place(key, i)))
                    })
                    .sum();
                let index = [&row[..lead], &[head, query, key]].concat();
                let added = match mask.map(|mask| (mask, mask.dtype())) {
                    None => 0.0,
                    Some((mask, Some(DType::F32))) => f64::from(at::<f32>(mask, &index)),
                    Some((mask, _)) => {
                        let walk = Walk::broadcast(
                            &[&q.shape()[..lead], &[dims.heads, dims.seq, dims.keys]].concat(),
                            [mask.shape()],
                        );
                        let flat = index
                            .iter()
                            .zip([&q.shape()[..lead], &[dims.heads, dims.seq, dims.keys]].concat())
                            .fold(0, |flat, (place, extent)| flat * extent + place);
                        if mask.bytes()[walk.offsets(flat)[0]] == 1 { 0.0 } else { f64::NEG_INFINITY }
                    }
                };
                product * scale + added
            })
            .collect();
        let most = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let weights: Vec<f64> = scores.iter().map(|score| (score - most).exp()).collect();
        let weight: f64 = weights.iter().sum();
        for value in 0..dims.m {
            let sum: f64 =
                (0..keys).map(|key| weights[key] * f64::from(at::<f32>(v, &place(key, value)))).sum();
            output.push(if keys == 0 || most == f64::NEG_INFINITY { 0.0 } else { sum / weight });
        }
    }
    output
}

fn halves(tensor: &Tensor) -> Tensor {
    let values: Vec<f16> = tensor.values::<f32>().unwrap().iter().map(|x| f16::from_f32(*x)).collect();
    Tensor::new(tensor.shape(), values).unwrap()
}

fn floats(tensor: &Tensor) -> Tensor {
    let values: Vec<f32> = tensor.values::<f16>().unwrap().iter().map(|x| x.to_f32()).collect();
    Tensor::new(tensor.shape(), values).unwrap()
}

/// Queries, keys and values of `[batch.., seq, heads, n]`, of `keys` and `kv_heads`, and of `m`.
fn tensors(lead: &[usize], seq: usize, keys: usize, heads: [usize; 2], n: usize, m: usize) -> [Tensor; 3] {
    let shape = |rows, heads, values| [lead, &[rows, heads, values]].concat();
    let mut q = noise(&shape(seq, heads[0], n), 31);
    // Products that differ enough for the greatest to matter.
    let scaled: Vec<f32> = q.values::<f32>().unwrap().iter().map(|x| x * 4.0).collect();
    q = Tensor::new(q.shape(), scaled).unwrap();
    [q, noise(&shape(keys, heads[1], n), 32), noise(&shape(keys, heads[1], m), 33)]
}

type Case = (&'static [usize], usize, usize, [usize; 2], usize, usize);

/// Leading dimensions, queries, keys, heads and heads of keys, and lengths of keys and values.
const CASES: [Case; 14] = [
    (&[], 1, 1, [1, 1], 1, 1),
    (&[], 1, 5, [2, 1], 3, 4),
    (&[], 7, 7, [3, 3], 16, 16),
    (&[], 13, 29, [4, 2], 17, 33),
    (&[2], 5, 70, [6, 2], 48, 48),
    (&[2, 3], 2, 65, [2, 1], 8, 20),
    (&[], 1, 700, [9, 3], 64, 64),
    (&[], 3, 257, [9, 3], 64, 64),
    (&[], 90, 300, [9, 3], 64, 64),
    (&[], 70, 70, [1, 1], 80, 96),
    (&[], 2, 130, [130, 2], 5, 7),
    (&[], 0, 4, [2, 1], 4, 4),
    (&[2], 3, 4, [2, 1], 0, 4),
    (&[], 3, 4, [2, 2], 4, 0),
];

#[test]
fn queries_are_answered_as_the_formula_says() {
    let ops = Ops::standard();
    for (lead, seq, keys, heads, n, m) in CASES {
        let [q, k, v] = tensors(lead, seq, keys, heads, n, m);
        let what = format!("{lead:?} {seq} of {keys}, {heads:?}, {n} and {m}");
        let scale = if n == 0 { 0.5 } else { 1.0 / (n as f64).sqrt() };
        let attributes = |attributes: Attributes| match n {
            0 => attributes.with("scale", 0.5),
            _ => attributes,
        };
        for half in [false, true] {
            let (k, v) = if half { (halves(&k), halves(&v)) } else { (k.clone(), v.clone()) };
            let exact = if half { [&q, &floats(&k), &floats(&v)] } else { [&q, &k, &v] };
            let inputs = [q.clone(), k.clone(), v.clone()];
            let output = ops.run("attention", &attributes(none()), &inputs).unwrap();
            assert_eq!(output.shape(), [lead, &[seq, heads[0], m]].concat());
            assert_close(&output, &formula(exact, |_, _| keys, None, scale), 3e-6, &what);
            let output = ops.run("attention", &attributes(causal()), &inputs).unwrap();
            let seen = |_: usize, query: usize| keys - seq + query + 1;
            assert_close(&output, &formula(exact, seen, None, scale), 3e-6, &format!("{what} causal"));
        }
    }
}

#[test]
fn positions_say_what_a_query_sees() {
    let ops = Ops::standard();
    let [q, k, mut v] = tensors(&[2], 5, 300, [4, 2], 32, 32);
    // What no query sees may be anything.
    let mut values = v.values::<f32>().unwrap().to_vec();
    for batch in values.chunks_mut(300 * 64) {
        batch[290 * 64..].fill(f32::NAN);
    }
    v = Tensor::new(v.shape(), values).unwrap();
    let scale = 1.0 / 32f64.sqrt();
    let each = [[3i64, 0, 289, 64, 63], [255, 256, 100, 7, 280]];
    let run = |positions: Tensor| {
        ops.run("attention", &causal(), &[q.clone(), k.clone(), v.clone(), positions]).unwrap()
    };
    for (positions, seen) in [
        (Tensor::scalar(41i64), Box::new(|_, query: usize| 42 + query) as Box<dyn Fn(usize, usize) -> usize>),
        (Tensor::scalar(0i32), Box::new(|_, query: usize| 1 + query)),
        (Tensor::new([5], each[0]).unwrap(), Box::new(|_, query| each[0][query] as usize + 1)),
        (
            Tensor::new([2, 5], each.as_flattened()).unwrap(),
            Box::new(|batch, query| each[batch][query] as usize + 1),
        ),
    ] {
        let expected = formula([&q, &k, &v], seen, None, scale);
        assert_close(&run(positions), &expected, 3e-6, "positions");
    }
    for position in [-1, 300, i64::MAX] {
        let inputs = [q.clone(), k.clone(), v.clone(), Tensor::scalar(position)];
        assert_eq!(
            ops.run("attention", &causal(), &inputs).unwrap_err().message(),
            format!("query 0 is at position {position}; expected 0 or more, and less than the 300 keys")
        );
    }
    let inputs = [noise(&[5, 1, 4], 1), noise(&[4, 1, 4], 1), noise(&[4, 1, 4], 1)];
    assert_eq!(
        ops.run("attention", &causal(), &inputs).unwrap_err().message(),
        "there are 5 queries and 4 keys; expected a key for each query, or `positions` for them"
    );
}

#[test]
fn masks_are_added_or_choose() {
    let ops = Ops::standard();
    let [q, k, v] = tensors(&[2], 5, 150, [4, 2], 32, 32);
    let scale = 1.0 / 32f64.sqrt();
    for shape in [&[150][..], &[5, 150], &[4, 5, 150], &[2, 1, 1, 150], &[2, 4, 5, 1], &[1, 1, 5, 150], &[]] {
        let added = noise(shape, 41);
        let flags: Vec<u8> =
            added.values::<f32>().unwrap().iter().map(|value| u8::from(*value > 0.1)).collect();
        let chosen = Tensor::from_bytes(DType::BOOL, shape, &flags).unwrap();
        for mask in [added, chosen] {
            let what = format!("{mask:?}");
            let inputs = [q.clone(), k.clone(), v.clone()];
            let output = ops.run_named("attention", &none(), &inputs, &[("mask", &mask)]).unwrap();
            assert_close(&output, &formula([&q, &k, &v], |_, _| 150, Some(&mask), scale), 3e-6, &what);
            let named = [("mask", &mask), ("positions", &Tensor::scalar(140i32))];
            let output = ops.run_named("attention", &causal(), &inputs, &named).unwrap();
            let expected = formula([&q, &k, &v], |_, query| 141 + query, Some(&mask), scale);
            assert_close(&output, &expected, 3e-6, &what);
        }
    }
    let none_seen = Tensor::from_bytes(DType::BOOL, [150], &[0; 150]).unwrap();
    let inputs = [q.clone(), k.clone(), v.clone()];
    let output = ops.run_named("attention", &none(), &inputs, &[("mask", &none_seen)]).unwrap();
    assert!(output.values::<f32>().unwrap().iter().all(|value| *value == 0.0));
}

#[test]
fn a_query_has_the_same_bits_alone_and_among_others() {
    let ops = Ops::standard();
    for (seq, heads, n) in [(150, [9, 3], 64), (77, [4, 4], 48), (300, [3, 1], 20)] {
        let [q, k, v] = tensors(&[], seq, 600, heads, n, n);
        let row = heads[0] * n;
        for (k, v) in [(k.clone(), v.clone()), (halves(&k), halves(&v))] {
            let positions = Tensor::scalar(250i64);
            let inputs = [q.clone(), k.clone(), v.clone(), positions];
            let together = ops.run("attention", &causal(), &inputs).unwrap();
            for (query, expected) in together.values::<f32>().unwrap().chunks(row).enumerate() {
                let own = &q.values::<f32>().unwrap()[query * row..][..row];
                let inputs = [
                    Tensor::new([1, heads[0], n], own).unwrap(),
                    k.clone(),
                    v.clone(),
                    Tensor::scalar(250 + query as i64),
                ];
                let alone = ops.run("attention", &causal(), &inputs).unwrap();
                assert!(alone.values::<f32>().unwrap() == expected, "query {query} of {heads:?}");
            }
        }
    }
}

#[test]
fn every_instruction_set_has_the_same_bits() {
    let executor = Executor::serial();
    for (lead, seq, keys, heads, n, m) in CASES {
        let [q, k, v] = tensors(lead, seq, keys, heads, n, m);
        let (half_k, half_v) = (halves(&k), halves(&v));
        let dims = Dims::of(q.shape(), k.shape(), v.shape());
        let run = |simd: AnySimd, half: bool| {
            let mut output = vec![f32::NAN; dims.batch * seq * heads[0] * m];
            let mut scratch = vec![0f32; Sizes::of(&dims).worker()];
            let bytes = bytemuck::cast_slice_mut::<f32, u8>(&mut scratch);
            let len = bytes.len();
            let workers = WorkerScratch::new(bytes, len, len, 1).unwrap();
            let memory = Memory { output: &mut output, parts: &mut [], workers };
            let (q, scale, visible) = (q.values().unwrap(), 0.25, Visible::to_last(&dims).unwrap());
            if half {
                let (k, v) = (half_k.values::<f16>().unwrap(), half_v.values().unwrap());
                attend(simd, executor, &Problem { q, k, v, mask: None, visible, dims, scale }, memory);
            } else {
                let (k, v) = (k.values::<f32>().unwrap(), v.values().unwrap());
                attend(simd, executor, &Problem { q, k, v, mask: None, visible, dims, scale }, memory);
            }
            output
        };
        for half in [false, true] {
            let expected = run(AnySimd::Fused(bitquilt_simd::Scalar), half);
            for simd in AnySimd::available() {
                let found = run(simd, half);
                if simd.isa() == bitquilt_simd::Isa::Scalar {
                    let found = Tensor::new([found.len()], found).unwrap();
                    let expected: Vec<f64> = expected.iter().map(|x| f64::from(*x)).collect();
                    assert_close(&found, &expected, 3e-6, "scalar");
                } else {
                    assert!(
                        found == expected,
                        "{} {seq} of {keys}, {heads:?}, {n} and {m}",
                        simd.isa().name()
                    );
                }
            }
        }
    }
}

#[test]
fn what_does_not_fit_is_refused() {
    let (q, k) = ("f32 [seq, 9, 64]", "f16 [512, 3, 64]");
    check_inference(
        "attention",
        &[
            (causal(), &[q, k, k, "i64 [seq]"], "f32 [seq, 9, 64]"),
            (causal(), &[q, k, "f16 [512, 3, 80]", "i32 []"], "f32 [seq, 9, 80]"),
            (
                none(),
                &["f32 [b, s, 2, 8]", "f32 [b, s, 2, 8]", "f32 [b, s, 2, 8]", "mask: bool [b, 1, 1, s]"],
                "f32 [b, s, 2, 8]",
            ),
            (
                none(),
                &["f32 [9, 64]", k, k],
                "error: `q` is f32 [9, 64]; expected queries, f32 [.., seq, heads, n]",
            ),
            (
                none(),
                &["f32 [seq, h, 64]", k, k],
                "error: `q` is f32 [seq, h, 64]; expected heads whose number and length are numbers",
            ),
            (
                none(),
                &[q, "f32 [512, 3, 32]", k],
                "error: `v` is f16 [512, 3, 64]; expected f32 values, as `k` has",
            ),
            (
                none(),
                &[q, "f16 [512, 3, 32]", k],
                "error: `k` is f16 [512, 3, 32]; expected [keys, kv_heads, 64], keys for `q` f32 [seq, 9, 64]",
            ),
            (
                none(),
                &["f32 [b, seq, 9, 64]", k, k],
                "error: `k` is f16 [512, 3, 64]; expected [b, keys, kv_heads, 64], keys for `q` f32 [b, seq, 9, 64]",
            ),
            (
                none(),
                &[q, "f16 [512, 4, 64]", "f16 [512, 4, 64]"],
                "error: `k` is f16 [512, 4, 64]; expected a number of heads that divides the 9 of `q` f32 [seq, 9, 64]",
            ),
            (
                none(),
                &[q, k, "f16 [511, 3, 64]"],
                "error: `v` is f16 [511, 3, 64]; expected a value for each key and head of `k` f16 [512, 3, 64]",
            ),
            (
                none(),
                &[q, k, k, "i64 [seq]"],
                "error: `positions` are given, which say what each query sees; expected `causal` to be true",
            ),
            (
                none(),
                &[q, k, k, "mask: f32 [seq, 500]"],
                "error: `mask` is f32 [seq, 500]; expected a shape that broadcasts to [9, seq, 512], [.., heads, seq, keys]",
            ),
            (
                none(),
                &[q, k, k, "mask: f32 [2, 9, seq, 512]"],
                "error: `mask` is f32 [2, 9, seq, 512]; expected a shape that broadcasts to [9, seq, 512], [.., heads, seq, keys]",
            ),
            (none().with("scale", f64::NAN), &[q, k, k], "error: `scale` is NaN; expected a finite number"),
        ],
    );
}
