//! `qmatmul`'s generic kernel on an encoding, against the decoded weight.

use bitquilt_plugin_api::Error;

use super::encoding::Probe;
use super::finding::Verdict;
use super::values::normal;
use crate::{TestHost, TestTensor};

impl Probe<'_> {
    pub(super) fn qmatmul(&self, host: &TestHost) -> Verdict {
        let has_generic = host.kernels.iter().any(|(key, _)| key.op == "qmatmul" && key.name == "generic");
        if !has_generic {
            let reason = "there is no `qmatmul` here; `bitquilt plugin check` has it";
            return Verdict::Skipped(reason.to_owned());
        }
        (self.at)("qmatmul, the generic kernel");
        self.product(host).into()
    }

    fn product(&self, host: &TestHost) -> Result<String, String> {
        let (rows, columns, n) = (3, 5, self.row_len);
        let text = |error: Error| error.to_string();
        let blocks = self.encode(&normal(columns * n, 8))?;
        let decoded = self.decode(&blocks)?;
        let weight = TestTensor::from_encoded(self.spec, &[columns, n], &blocks).map_err(text)?;
        let x = normal(rows * n, 9);
        let x_tensor = TestTensor::new(&[rows, n], &x).map_err(text)?;
        let call = host.call("qmatmul").kernel("generic").attribute("precision", "exact").threads(2);
        let outputs = call.input(&x_tensor).input(&weight).run().map_err(text)?;
        let found = outputs.first().ok_or("qmatmul gave no output")?.values::<f32>().map_err(text)?;
        let mut largest = 0f64;
        for (index, found) in found.iter().enumerate() {
            let (row, column) = (&x[index / columns * n..][..n], &decoded[index % columns * n..][..n]);
            let terms = || row.iter().zip(column).map(|(a, b)| f64::from(*a) * f64::from(*b));
            let (expected, size) = (terms().sum::<f64>(), terms().map(f64::abs).sum::<f64>());
            let error = (f64::from(*found) - expected).abs() / size.max(f64::MIN_POSITIVE);
            // n roundings, each of half a unit in the last place.
            if error.is_nan() || error > n as f64 * f64::from(f32::EPSILON) {
                return Err(format!(
                    "row {}, column {} of the product is {found}; decoding the weight and multiplying gives {expected}",
                    index / columns,
                    index % columns
                ));
            }
            largest = largest.max(error);
        }
        Ok(format!("agrees with decode-then-matmul to {largest:.1e}"))
    }
}
