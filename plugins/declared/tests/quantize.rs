//! What is left of values that are encoded.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use common::{dequantize, distributions, kinds, quantize};

#[test]
#[ignore]
fn timing() {
    use bitquilt_declared::DeclaredEncoding;
    use bitquilt_plugin_api::{QuantizationEncoding, Rows};
    for declaration in kinds() {
        let count = 131_072 / declaration.block_len() * declaration.block_len();
        let values = &distributions(count)[0].1;
        let mut line = String::new();
        let encoding = DeclaredEncoding::new(declaration.clone());
        let mut bytes = vec![0; count / declaration.block_len() * declaration.block_bytes()];
        let mut best = f64::MAX;
        for _ in 0..3 {
            let begin = std::time::Instant::now();
            encoding.quantize(Rows::new(values, count).unwrap(), None, &mut bytes).unwrap();
            best = best.min(begin.elapsed().as_secs_f64());
        }
        line += &format!("{:16} quantize {:7.1} ns", declaration.name(), best * 1e9 / count as f64);
        let mut back = vec![0.0; count];
        best = f64::MAX;
        for _ in 0..10 {
            let begin = std::time::Instant::now();
            encoding.dequantize(&bytes, &mut back).unwrap();
            best = best.min(begin.elapsed().as_secs_f64());
        }
        let error: f64 = values.iter().zip(&back).map(|(a, b)| (f64::from(*a) - f64::from(*b)).powi(2)).sum();
        let size: f64 = values.iter().map(|a| f64::from(*a).powi(2)).sum();
        line +=
            &format!("  dequantize {:6.2} ns  error {:.5}", best * 1e9 / count as f64, (error / size).sqrt());
        println!("{line}");
    }
    let _ = (quantize as *const (), dequantize as *const ());
}
