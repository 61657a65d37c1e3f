//! The op `acme.weighted_sum`.

use bitquilt_plugin_api::{
    DType, Dim, Error, InferContext, Kernel, Op, OpSignature, OutputType, Result, RunContext, Scratch,
    Shapes, TensorType, bytemuck,
};

/// `acme.weighted_sum(table, ids, weights)`: for each bag of `k` ids, the sum of those rows of `table`, each times its weight.
///
/// `table` is encoded `[rows, n]`, by any encoding; `ids` is i64 and `weights` f32, both `[.., k]`; the sums are f32 `[.., n]`.
/// An id that is no row is an error of the run.
pub struct WeightedSum;

impl Op for WeightedSum {
    fn signature(&self) -> OpSignature {
        OpSignature::new("acme.weighted_sum")
            .encoded("table")
            .dense("ids")
            .dense("weights")
            .summary("sums of the rows of an encoded table that ids [.., k] name, each times its weight")
    }

    fn infer(&self, cx: &InferContext<'_>) -> Result<Vec<OutputType>> {
        let [table, ids, weights] = cx.inputs() else {
            return Err(Error::invalid("acme.weighted_sum takes a table, ids and weights"));
        };
        let [_, Dim::Fixed(n)] = table.shape[..] else {
            return Err(Error::invalid(format_args!("`table` is {table}; a matrix is expected")));
        };
        if ids.dtype() != Some(DType::I64) || weights.dtype() != Some(DType::F32) {
            return Err(Error::invalid(format_args!(
                "`ids` is {ids} and `weights` is {weights}; i64 and f32 are expected: cast them"
            )));
        }
        let Some((_, bags)) = ids.shape.split_last().filter(|_| ids.shape == weights.shape) else {
            return Err(Error::invalid(format_args!(
                "`ids` is {ids} and `weights` is {weights}; both must have the same shape [.., k]"
            )));
        };
        Ok(vec![TensorType::f32(bags.iter().cloned().chain([Dim::Fixed(n)])).into()])
    }
}

impl Kernel for WeightedSum {
    fn scratch(&self, shapes: &Shapes<'_>) -> Scratch {
        // One decoded row.
        Scratch { shared: 0, per_worker: shapes.inputs[0][1] * size_of::<f32>() }
    }

    fn run(&self, cx: &mut RunContext<'_>) -> Result<()> {
        let (table, decoder) = (cx.input(0)?, cx.decoder(0)?);
        let (ids, weights) = (cx.input(1)?, cx.input(2)?.values::<f32>()?);
        let (bag_len, ids) = (ids.shape()[ids.shape().len() - 1], ids.values::<i64>()?);
        let (rows, n) = (table.shape()[0], table.shape()[1]);
        let is_row = |id: i64| usize::try_from(id).is_ok_and(|id| id < rows);
        if let Some(id) = ids.iter().find(|id| !is_row(**id)) {
            return Err(Error::invalid(format_args!("the id {id} is no row of `table`, which has {rows}")));
        }
        let sums = cx.output(0)?.into_values::<f32>()?;
        if sums.is_empty() {
            return Ok(());
        }
        let row_bytes = table.bytes().len() / rows.max(1);
        cx.executor().try_par_chunks_mut(sums, n, cx.worker_scratch(), |bag, sum, scratch| {
            let row: &mut [f32] = bytemuck::cast_slice_mut(scratch);
            let bag = bag * bag_len..(bag + 1) * bag_len;
            sum.fill(0.0);
            for (id, weight) in ids[bag.clone()].iter().zip(&weights[bag]) {
                // Checked above: it is a row's number.
                decoder.dequantize(&table.bytes()[*id as usize * row_bytes..][..row_bytes], row)?;
                sum.iter_mut().zip(&*row).for_each(|(sum, value)| *sum += weight * value);
            }
            Ok(())
        })
    }
}

#[cfg(test)]
mod tests {
    use bitquilt_plugin_api::{Attributes, dim};
    use bitquilt_plugin_kit::{TestHost, TestTensor};

    use super::*;

    fn host() -> TestHost {
        TestHost::new([crate::plugin()]).unwrap()
    }

    fn table(host: &TestHost) -> TestTensor {
        let values: Vec<f32> = (0..9 * 64).map(|index| (index * 37 % 101) as f32 / 50.0 - 1.0).collect();
        host.quantize("acme.int3", &[9, 64], &values).unwrap()
    }

    #[test]
    fn sums_are_those_of_the_decoded_rows() {
        let host = host();
        let table = table(&host);
        let decoded = host.dequantize(&table).unwrap();
        let ids = [0i64, 8, 3, 3, 1, 7, 2, 0];
        let weights = [1f32, -0.5, 2.0, 0.25, 0.0, 1.5, -1.0, 3.0];
        for (shape, bag_len) in [(&[8][..], 8), (&[4, 2], 2), (&[2, 2, 2], 2), (&[8, 1], 1)] {
            let ids_tensor = TestTensor::new(shape, &ids).unwrap();
            let weights_tensor = TestTensor::new(shape, &weights).unwrap();
            for threads in [1, 3] {
                let call = host.call("acme.weighted_sum").input(&table);
                let call = call.input(&ids_tensor).input(&weights_tensor).threads(threads);
                let sums = call.run().unwrap().remove(0);
                assert_eq!(sums.shape(), [&shape[..shape.len() - 1], &[64]].concat());
                for (index, sum) in sums.values::<f32>().unwrap().iter().enumerate() {
                    let bag = index / 64 * bag_len..(index / 64 + 1) * bag_len;
                    let expected: f32 =
                        bag.map(|at| weights[at] * decoded[ids[at] as usize * 64 + index % 64]).sum();
                    assert!((sum - expected).abs() < 1e-5, "{shape:?} at {index}: {sum}, not {expected}");
                }
            }
        }
    }

    #[test]
    fn an_empty_bag_is_zero() {
        let host = host();
        let table = table(&host);
        let (ids, weights) =
            (TestTensor::new::<i64>(&[2, 0], &[]).unwrap(), TestTensor::new::<f32>(&[2, 0], &[]).unwrap());
        let call = host.call("acme.weighted_sum").input(&table).input(&ids).input(&weights);
        assert_eq!(call.run().unwrap()[0].values::<f32>().unwrap(), [0.0; 128]);
    }

    #[test]
    fn ids_outside_the_table_are_refused() {
        let host = host();
        let table = table(&host);
        let weights = TestTensor::new(&[2], &[1f32, 1.0]).unwrap();
        for id in [9, -1, i64::MIN] {
            let ids = TestTensor::new(&[2], &[0, id]).unwrap();
            let call = host.call("acme.weighted_sum").input(&table).input(&ids).input(&weights);
            let error = call.run().err().unwrap();
            assert!(
                error.message().contains(&format!("id {id} ")) && error.message().contains("has 9"),
                "{error}"
            );
        }
    }

    #[test]
    fn wrong_types_are_refused_when_a_node_is_built() {
        let table = TensorType::encoded("acme.int3", [9usize, 64]);
        let ids = TensorType::dense(DType::I64, [dim("batch"), dim(3)]);
        let weights = TensorType::f32([dim("batch"), dim(3)]);
        let host = host();
        let infer = |inputs: [&TensorType; 3]| {
            host.infer("acme.weighted_sum", &inputs.map(Clone::clone), &Attributes::new())
        };
        let sums = infer([&table, &ids, &weights]).unwrap();
        assert_eq!(sums[0].tensor, TensorType::f32([dim("batch"), dim(64)]));
        for (inputs, words) in [
            ([&TensorType::encoded("acme.int3", [64usize]), &ids, &weights], "matrix"),
            ([&table, &TensorType::dense(DType::I32, [dim("batch"), dim(3)]), &weights], "i64"),
            ([&table, &ids, &TensorType::dense(DType::F16, [dim("batch"), dim(3)])], "f32"),
            ([&table, &ids, &TensorType::f32([dim("batch"), dim(4)])], "same shape"),
            (
                [&table, &TensorType::dense(DType::I64, [0usize; 0]), &TensorType::f32([0usize; 0])],
                "same shape",
            ),
        ] {
            let error = infer(inputs).unwrap_err();
            assert!(error.message().contains(words), "no {words:?} in: {error}");
        }
    }
}
