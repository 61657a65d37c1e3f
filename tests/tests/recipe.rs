//! Recipes: which weight gets which encoding, and what is wrong with one that decides nothing.
#![allow(clippy::unwrap_used, reason = "tests may")]

use std::path::Path;
use std::sync::Arc;

use bitquilt::quantize::{Recipe, RecipeError, Summary};
use bitquilt::registry::Registry;
use bitquilt::{Element, InferenceSession, Tensor, TensorDict};

fn registry() -> Arc<Registry> {
    Arc::clone(InferenceSession::builder().threads(1).build().unwrap().registry())
}

fn weights() -> TensorDict {
    let values = |shape: [usize; 2]| {
        let values: Vec<f32> = (0..shape[0] * shape[1]).map(|index| (index % 17) as f32 - 8.0).collect();
        Tensor::new(shape, values).unwrap()
    };
    let mut weights: TensorDict = [
        ("blk.0.down.weight", values([4, 512])),
        ("blk.0.up.weight", values([8, 64])),
        ("blk.1.up.weight", values([8, 64])),
        ("embedding.weight", values([3, 32])),
    ]
    .into_iter()
    .collect();
    weights.insert("blk.0.norm.weight", Tensor::full([64], 1f32));
    weights
}

fn apply(recipe: &str) -> Result<(TensorDict, Summary), RecipeError> {
    let mut weights = weights();
    let summary =
        Recipe::parse(recipe, "recipe.toml").and_then(|it| it.apply(&mut weights, &registry(), |_, _| {}))?;
    Ok((weights, summary))
}

fn elements(weights: &TensorDict) -> Vec<String> {
    weights.iter().map(|(name, tensor)| format!("{name} {}", tensor.element())).collect()
}

#[test]
fn the_first_rule_that_matches_decides() {
    let (weights, summary) = apply(
        r#"
        [[rule]]
        weights = "blk.0.*"
        encoding = "q8_0"
        [[rule]]
        weights = "embedding.*"
        encoding = "keep"
        [[rule]]
        weights = "blk.{0,1}.*"
        encoding = "q4_0"
        "#,
    )
    .unwrap();
    let expected = [
        "blk.0.down.weight q8_0",
        "blk.0.norm.weight f32",
        "blk.0.up.weight q8_0",
        "blk.1.up.weight q4_0",
        "embedding.weight f32",
    ];
    assert_eq!(elements(&weights), expected);
    assert!(summary.fallbacks.is_empty());
    let bytes = (4 * 512 + 8 * 64) / 32 * 34 + 8 * 64 / 32 * 18 + 4 * (64 + 3 * 32);
    assert_eq!(summary.sizes.bytes(), bytes);
}

#[test]
fn a_weight_that_has_its_encoding_is_not_touched_and_f32_decodes() {
    let registry = registry();
    let mut weights = weights();
    let recipe = |encoding: &str| Recipe::uniform(encoding, None).unwrap();
    recipe("q4_0").apply(&mut weights, &registry, |_, _| {}).unwrap();
    let before = weights.clone();
    let mut progress = Vec::new();
    recipe("q4_0").apply(&mut weights, &registry, |done, of| progress.push((done, of))).unwrap();
    assert_eq!(weights, before);
    assert_eq!(progress, [(1, 4), (2, 4), (3, 4), (4, 4)]);
    recipe("f32").apply(&mut weights, &registry, |_, _| {}).unwrap();
    assert!(weights.iter().all(|(_, tensor)| tensor.element() == Element::Dense(bitquilt::DType::F32)));
}

#[test]
fn rows_that_do_not_fit_are_an_error_or_get_the_fallback() {
    let rule = "[[rule]]\nweights = '*'\nencoding = 'q4_k'\n";
    assert_eq!(
        apply(rule).unwrap_err().to_string(),
        "weight `blk.0.up.weight`: its rows have 64 values, no multiple of the 256 in a block of `q4_k`; choose another \
         encoding for it, or a `fallback` that fits"
    );
    let (weights, summary) = apply(&format!("fallback = 'q8_0'\n{rule}")).unwrap();
    assert_eq!(weights.require("blk.0.down.weight").unwrap().element().to_string(), "q4_k");
    assert_eq!(weights.require("blk.1.up.weight").unwrap().element().to_string(), "q8_0");
    assert_eq!(summary.fallbacks.len(), 3);
    let text = summary.to_string();
    assert!(text.starts_with("blk.0.up.weight: q8_0 instead of q4_k"), "{text}");
    let twice = apply(&format!("fallback = 'q6_k'\n{rule}")).unwrap_err().to_string();
    assert!(twice.contains("no multiple of the 256 in a block of `q6_k`"), "{twice}");
}

#[test]
fn what_is_no_recipe_is_a_sentence() {
    for (recipe, part) in [
        (
            "[[rule]]\nweights = 'blk.7.*'\nencoding = 'q4_0'",
            "the rule `blk.7.*` = q4_0 of the recipe decides for no weight: its glob matches none; a weight is called \
             `blk.0.down.weight`, for example",
        ),
        (
            "[[rule]]\nweights = '*'\nencoding = 'q4_0'\n[[rule]]\nweights = 'blk.1.*'\nencoding = 'q8_0'",
            "the rules before it have taken all that it matches, such as `blk.1.up.weight`",
        ),
        (
            "[[rule]]\nweights = '*norm*'\nencoding = 'q4_0'",
            "it matches no matrix; norms and biases are not encoded",
        ),
        ("[[rule]]\nweights = '*'\nencoding = 'q4_7'", "q4_7"),
        (
            "[[rule]]\nweights = '['\nencoding = 'q4_0'",
            "recipe.toml: `[` is no glob over names: unclosed character class",
        ),
        ("[[rule]]\nweights = '*'", "recipe.toml: TOML parse error at line 1"),
        ("falback = 'q8_0'", "unknown field `falback`"),
        ("nonsense", "recipe.toml: TOML parse error"),
    ] {
        let error = apply(recipe).unwrap_err().to_string();
        assert!(error.contains(part), "{error}");
    }
    let missing = Recipe::read(std::path::Path::new("no/such.toml")).unwrap_err().to_string();
    assert!(missing.starts_with("the recipe: cannot read no/such.toml"), "{missing}");
}

#[test]
fn a_recipe_that_has_no_end_is_a_sentence() {
    let rule = |glob: &str| format!("[[rule]]\nweights = '{glob}'\nencoding = 'q4_0'\n");
    let alternatives = format!("{{{}}}", vec!["layer.weight"; 100_000].join(","));
    for (recipe, parts) in [
        (rule(&alternatives), ["… (1300001 characters)` is no glob", "at most 4096 are allowed"]),
        (rule("*").repeat(1001), ["recipe.toml: it has 1001 rules", "at most 1000 are allowed"]),
        (rule(&format!("\u{1b}[31m{}", "x".repeat(4000))), ["TOML parse error", "more characters)"]),
        (format!("{} = 1", "x".repeat(1 << 20)), ["TOML parse error", "more characters)"]),
    ] {
        let error = apply(&recipe).unwrap_err().to_string();
        assert!(parts.iter().all(|part| error.contains(part)), "{error}");
        assert!(error.len() < 5000 && !error.contains('\u{1b}'), "{error}");
    }
    let directory = tempfile::tempdir().unwrap();
    let large = directory.path().join("large.toml");
    std::fs::write(&large, "#".repeat((1 << 20) + 1)).unwrap();
    let text = directory.path().join("bytes.toml");
    std::fs::write(&text, b"# \xff").unwrap();
    let read = |path: &std::path::Path| Recipe::read(path).unwrap_err().to_string();
    assert!(
        read(&large)
            .ends_with("large.toml has more than 1048576 bytes, and is too large to be what was asked for")
    );
    assert!(read(&text).ends_with("bytes.toml is no text in UTF-8: byte 2 begins no character"));
    assert!(read(directory.path()).ends_with(" is a directory; a regular file was expected"));
    #[cfg(unix)]
    assert_eq!(read("/dev/zero".as_ref()), "the recipe: /dev/zero is a device; a regular file was expected");
}

#[test]
fn the_readme_shows_the_recipe_that_its_commands_use() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let recipe = root.join("../examples/tinystories/recipe.toml");
    Recipe::read(&recipe).unwrap();
    let readme = std::fs::read_to_string(root.join("../README.md")).unwrap();
    assert!(readme.contains(&format!("```toml\n{}```", std::fs::read_to_string(&recipe).unwrap())));
}
