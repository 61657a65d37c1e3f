//! Which weights are meant: globs over their names.

use globset::{Glob, GlobSet};

use crate::text::Brief;

/// The most bytes of a glob.
pub(super) const LONGEST: usize = 4096;

/// A glob over the names of weights, such as `blk.*.ffn_{up,down}.weight`.
///
/// `*` stands for any characters, `?` for one, `[ab]` and `[a-z]` for one of several, and `{up,down}` for one of several texts.
///
/// ```
/// use bitquilt::NamePattern;
/// let pattern = NamePattern::new("blk.*.ffn_{up,down}.weight")?;
/// assert!(pattern.is_match("blk.12.ffn_up.weight") && !pattern.is_match("output.weight"));
/// # Ok::<(), bitquilt::PatternError>(())
/// ```
#[derive(Clone, Debug)]
pub struct NamePattern {
    text: String,
    // A set of one, since its making answers an error where a single matcher's panics.
    globs: GlobSet,
}

/// Why a text is no glob.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("`{}` is no glob over names: {problem}", Brief(.glob))]
pub struct PatternError {
    /// The text.
    pub glob: String,
    /// What is wrong with it.
    pub problem: String,
}

impl NamePattern {
    /// The pattern of a glob, which has at most 4096 bytes.
    pub fn new(glob: &str) -> Result<Self, PatternError> {
        let wrong = |problem: String| PatternError { glob: glob.to_owned(), problem };
        if glob.len() > LONGEST {
            let found = glob.len();
            return Err(wrong(format!(
                "it has {found} bytes, at most {LONGEST} are allowed; write several rules, or a shorter one"
            )));
        }
        let syntax = |error: globset::Error| wrong(Brief(&error.kind().to_string()).to_string());
        let parsed = Glob::new(glob).map_err(syntax)?;
        let globs = GlobSet::builder().add(parsed).build().map_err(syntax)?;
        Ok(Self { text: glob.to_owned(), globs })
    }

    /// Whether a weight of this name is meant.
    pub fn is_match(&self, name: &str) -> bool {
        self.globs.is_match(name)
    }

    /// The glob as it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

impl std::str::FromStr for NamePattern {
    type Err = PatternError;
    fn from_str(glob: &str) -> Result<Self, PatternError> {
        Self::new(glob)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn globs_match_whole_names() {
        for (glob, name, expected) in [
            ("*", "", true),
            ("*", "a/b.c", true),
            ("blk.?.up", "blk.1.up", true),
            ("blk.?.up", "blk.10.up", false),
            ("{a,b}.w", "b.w", true),
            ("[a-c].w", "d.w", false),
            ("w", "w.w", false),
        ] {
            assert_eq!(NamePattern::new(glob).unwrap().is_match(name), expected, "{glob} {name}");
        }
    }

    #[test]
    fn what_is_no_glob_is_a_sentence() {
        let alternatives = format!("{{{}}}", vec!["layer.weight"; 100_000].join(","));
        let nested = "{a,".repeat(1000) + &"}".repeat(1000);
        let starved = "*".to_owned() + &"{a,b*[c-z]}*".repeat(340);
        for (glob, sentence) in [
            ("[a", "`[a` is no glob over names: unclosed character class; missing ']'"),
            (
                "{a",
                "`{a` is no glob over names: unclosed alternate group; missing '}' (maybe escape '{' with '[{]'?)",
            ),
            ("[z-a]\u{1b}", "`[z-a]\\u{1b}` is no glob over names: invalid range; 'z' > 'a'"),
            (
                &alternatives,
                "characters)` is no glob over names: it has 1300001 bytes, at most 4096 are allowed; write several rules, or a shorter one",
            ),
            (&nested, "is no glob over names: "),
        ] {
            let error = NamePattern::new(glob).unwrap_err().to_string();
            assert!(error.contains(sentence) && error.len() < 500, "{error}");
        }
        assert!(NamePattern::new(&starved).is_ok_and(|pattern| !pattern.is_match(&"b".repeat(10_000))));
    }
}
