//! A stretched context, against ggml's `ggml_rope_ext` and against a model without YaRN that comes to the same.
#![allow(clippy::unwrap_used, reason = "tests may")]

mod common;

use bitquilt::Tensor;
use bitquilt_models::config::{ROPE_FACTORS, layer_tensor};
use bitquilt_models::model::DecoderModel;
use bitquilt_models::yarn::Yarn;
use common::{all_logits, data, distance, options, runner, session};

fn yarn(factor: f64, trained: usize) -> Yarn {
    Yarn { factor, trained, beta_fast: 32.0, beta_slow: 1.0 }
}

/// What `ggml_rope_ext` (ggml 0.25.3) makes at position 1 of pairs (1, 0), with an `ext_factor` of 1.
#[test]
fn pairs_turn_as_ggml_turns_them() {
    let cases: [(f64, usize, &[[f64; 2]]); 2] = [
        (
            4.0,
            64,
            &[
                [0.615204096, 0.958123624],
                [1.10675538, 0.267525077],
                [1.13720644, 0.0569077469],
                [1.13859391, 0.0090015633],
                [1.13862586, 0.00284657092],
                [1.13862908, 0.000900165585],
                [1.13862932, 0.000284657377],
                [1.13862944, 9.00165687e-05],
            ],
        ),
        (
            8.0,
            2048,
            &[
                [0.652655005, 1.01644993],
                [1.14804852, 0.375650823],
                [1.20190942, 0.120593198],
                [1.20757556, 0.0298395809],
                [1.20792508, 0.00679465011],
                [1.20794344, 0.00131307484],
                [1.20794415, 0.00015099303],
                [1.20794415, 4.77481881e-05],
            ],
        ),
    ];
    for (factor, trained, expected) in cases {
        let (yarn, dims, theta) = (yarn(factor, trained), 16, 10_000f64);
        let divisors = yarn.divisors(dims, theta);
        assert_eq!(divisors.len(), expected.len());
        for (pair, (divisor, expected)) in divisors.iter().zip(expected).enumerate() {
            let angle = theta.powf(-2.0 * pair as f64 / dims as f64) / f64::from(*divisor);
            let found = [angle.cos(), angle.sin()].map(|value| value * yarn.magnitude());
            for (found, expected) in found.iter().zip(expected) {
                assert!((found - expected).abs() < 5e-7, "factor {factor}, pair {pair}: {found} {expected}");
            }
        }
    }
}

#[test]
fn the_graph_turns_and_scales() {
    let session = session(1);
    let plain = DecoderModel::open(&data("llama2c/model.bin"), None, session.registry()).unwrap();
    let listed: Vec<f32> = (0..plain.config.head / 2).map(|pair| 1.0 + 0.5 * pair as f32).collect();
    let yarn = yarn(4.0, 16);
    let logits = |model: &DecoderModel| {
        let tokens = [1, 70, 263, 264, 9, 299, 31, 100, 264, 17];
        all_logits(&mut runner(&session, model, &options(tokens.len(), "exact")), &tokens)
    };
    let with_factors = |factors: &[f32]| {
        let mut model = plain.clone();
        model.weights.insert(ROPE_FACTORS, Tensor::new([factors.len()], factors).unwrap());
        model
    };
    let mut stretched = with_factors(&listed);
    stretched.config.yarn = Some(yarn.clone());

    let divisors = yarn.divisors(plain.config.head, plain.config.rope_theta);
    let product: Vec<f32> = listed.iter().zip(divisors).map(|(listed, divisor)| listed * divisor).collect();
    let mut same = with_factors(&product);
    for layer in 0..plain.config.layers {
        let name = layer_tensor(layer, "attn_q.weight");
        let queries = plain.weights.require(&name).unwrap();
        let magnitude = yarn.magnitude().powi(2) as f32;
        let scaled: Vec<f32> = queries.values::<f32>().unwrap().iter().map(|x| x * magnitude).collect();
        same.weights.insert(name, Tensor::new(queries.shape(), scaled).unwrap());
    }
    let found = logits(&stretched);
    assert!(distance(&found, &logits(&same)) < 1e-4);
    assert!(distance(&found, &logits(&with_factors(&listed))) > 1e-2);

    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("stretched.safetensors");
    stretched.save(&path).unwrap();
    assert_eq!(DecoderModel::open(&path, None, session.registry()).unwrap().config, stretched.config);
}
