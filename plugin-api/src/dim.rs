//! Dimensions: numbers, or polynomials over named symbols.

use std::collections::BTreeMap;
use std::fmt::{self, Display, Formatter};
use std::str::FromStr;
use std::sync::Arc;

use crate::{Error, Result};

/// The most terms of an expression: products of dimensions that are sums grow exponentially.
pub const MAX_TERMS: usize = 32;
/// The most bytes of an expression that is written out, and of a text that is read as one.
pub const MAX_TEXT: usize = 2048;
/// The most bytes of a symbol's name.
pub const MAX_SYMBOL: usize = 64;

/// One dimension of a shape: a number, or an expression such as `past + seq` or `2*batch*seq` that a run binds.
///
/// Expressions are kept as polynomials in canonical form, so that two dimensions are equal exactly when they are the
/// same polynomial, and [`Display`] and [`FromStr`] are inverse. An expression has at most [`MAX_TERMS`] terms and
/// [`MAX_TEXT`] bytes; arithmetic whose result has more is an error.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Dim {
    /// A number known when the graph is built.
    Fixed(usize),
    /// An expression with at least one symbol.
    Symbolic(Expression),
}

/// A polynomial with integer coefficients over symbols, in canonical form and not constant. A clone is cheap.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Expression {
    terms: Arc<Terms>,
}

/// The coefficient of each product of symbols (sorted, with repetition); no coefficient is zero.
type Terms = BTreeMap<Vec<Arc<str>>, i64>;

/// The value of each symbol.
pub type Bindings = BTreeMap<String, usize>;

/// A dimension from a number or a symbol's name, for shapes that mix both: `[dim("seq"), dim(64)]`.
pub fn dim(value: impl Into<Dim>) -> Dim {
    value.into()
}

impl Dim {
    /// The number, if it is one.
    pub fn fixed(&self) -> Option<usize> {
        match self {
            Self::Fixed(value) => Some(*value),
            Self::Symbolic(_) => None,
        }
    }

    /// The sum of two dimensions; an error if a coefficient overflows.
    pub fn add(&self, other: &Self) -> Result<Self> {
        if let (Self::Fixed(a), Self::Fixed(b)) = (self, other) {
            return a.checked_add(*b).map(Self::Fixed).ok_or_else(|| overflow(self, "+", other));
        }
        let mut sum = self.terms()?;
        for (symbols, coefficient) in other.terms()? {
            let slot = sum.entry(symbols).or_insert(0);
            *slot = slot.checked_add(coefficient).ok_or_else(|| overflow(self, "+", other))?;
        }
        Self::from_terms(sum)
    }

    /// The product of two dimensions; an error if a coefficient overflows.
    pub fn mul(&self, other: &Self) -> Result<Self> {
        if let (Self::Fixed(a), Self::Fixed(b)) = (self, other) {
            return a.checked_mul(*b).map(Self::Fixed).ok_or_else(|| overflow(self, "*", other));
        }
        let mut product = Terms::new();
        for (left, a) in &self.terms()? {
            for (right, b) in &other.terms()? {
                let mut symbols = [left.as_slice(), right.as_slice()].concat();
                symbols.sort();
                let slot = product.entry(symbols).or_insert(0i64);
                *slot = a
                    .checked_mul(*b)
                    .and_then(|term| slot.checked_add(term))
                    .ok_or_else(|| overflow(self, "*", other))?;
                // Terms may cancel each other before all are there.
                if product.len() > 4 * MAX_TERMS {
                    return Err(too_long(format_args!("{} * {}", Short(self), Short(other))));
                }
            }
        }
        Self::from_terms(product)
    }

    /// The product of all dimensions of a shape: its number of values.
    pub fn product<'a>(shape: impl IntoIterator<Item = &'a Dim>) -> Result<Dim> {
        shape.into_iter().try_fold(Dim::Fixed(1), |product, dim| product.mul(dim))
    }

    /// Whether two shapes hold the same number of values, whatever their symbols are bound to.
    ///
    /// Dimensions that both have are not multiplied; an error if the product of the others is too large or too long.
    pub fn same_count(left: &[Self], right: &[Self]) -> Result<bool> {
        let is_empty = |shape: &[Self]| shape.contains(&Self::Fixed(0));
        if is_empty(left) || is_empty(right) {
            return Ok(is_empty(left) && is_empty(right));
        }
        let (left, right) = unshared(left, right);
        Ok(Self::product(left)? == Self::product(right)?)
    }

    /// The number of values of a shape, divided by that of another; none where [`Self::exact_div`] answers none.
    ///
    /// Dimensions that both have are not multiplied; an error if the product of the others is too large or too long.
    pub fn count_ratio<'a>(
        shape: impl IntoIterator<Item = &'a Self>,
        by: impl IntoIterator<Item = &'a Self>,
    ) -> Result<Option<Self>> {
        let (shape, by) = unshared(shape, by);
        Ok(Self::product(shape)?.exact_div(&Self::product(by)?))
    }

    /// The quotient, where the division by a single product of symbols leaves no remainder in any term.
    pub fn exact_div(&self, divisor: &Self) -> Option<Self> {
        if let (Self::Fixed(a), Self::Fixed(b)) = (self, divisor) {
            return (*b != 0 && a % b == 0).then(|| Self::Fixed(a / b));
        }
        let divisor = divisor.terms().ok()?;
        let (by_symbols, by) = divisor.iter().next().filter(|_| divisor.len() == 1)?;
        let mut quotient = Terms::new();
        for (mut symbols, coefficient) in self.terms().ok()? {
            for symbol in by_symbols {
                symbols.remove(symbols.iter().position(|candidate| candidate == symbol)?);
            }
            if coefficient % by != 0 {
                return None;
            }
            quotient.insert(symbols, coefficient / by);
        }
        Self::from_terms(quotient).ok()
    }

    /// The number this dimension is under `bindings`.
    ///
    /// An error names a symbol without a value, or says that the result is negative or too large.
    pub fn evaluate(&self, bindings: &Bindings) -> Result<usize> {
        let expression = match self {
            Self::Fixed(value) => return Ok(*value),
            Self::Symbolic(expression) => expression,
        };
        let too_large = || Error::invalid(format_args!("dimension `{}` is too large", Short(self)));
        let mut sum = 0i128;
        for (symbols, coefficient) in expression.terms.iter() {
            let mut term = i128::from(*coefficient);
            for symbol in symbols {
                let value = bindings.get(&**symbol).ok_or_else(|| {
                    Error::invalid(format_args!(
                        "the symbol `{symbol}` of dimension `{}` has no value",
                        Short(self)
                    ))
                })?;
                term = term.checked_mul(*value as i128).ok_or_else(too_large)?;
            }
            sum = sum.checked_add(term).ok_or_else(too_large)?;
        }
        usize::try_from(sum).map_err(|_| match sum {
            ..0 => Error::invalid(format_args!("dimension `{}` is {sum}, which is no length", Short(self))),
            _ => too_large(),
        })
    }

    /// The symbols that occur, each once, in order.
    pub fn symbols(&self) -> Vec<&str> {
        let Self::Symbolic(expression) = self else { return Vec::new() };
        let mut symbols: Vec<&str> = expression.terms.keys().flatten().map(|symbol| &**symbol).collect();
        symbols.sort_unstable();
        symbols.dedup();
        symbols
    }

    /// The symbol, if the dimension is one symbol and nothing else.
    pub fn as_symbol(&self) -> Option<&str> {
        let Self::Symbolic(expression) = self else { return None };
        match expression.terms.iter().next() {
            Some((symbols, 1)) if expression.terms.len() == 1 && symbols.len() == 1 => Some(&symbols[0]),
            _ => None,
        }
    }

    fn terms(&self) -> Result<Terms> {
        match self {
            Self::Fixed(0) => Ok(Terms::new()),
            Self::Fixed(value) => {
                let value = i64::try_from(*value)
                    .map_err(|_| Error::invalid(format_args!("dimension {value} is too large")))?;
                Ok(Terms::from([(Vec::new(), value)]))
            }
            Self::Symbolic(expression) => Ok(Terms::clone(&expression.terms)),
        }
    }

    fn from_terms(mut terms: Terms) -> Result<Self> {
        terms.retain(|_, coefficient| *coefficient != 0);
        if terms.keys().all(Vec::is_empty) {
            let value = terms.into_values().next().unwrap_or(0);
            return usize::try_from(value)
                .map(Self::Fixed)
                .map_err(|_| Error::invalid(format_args!("a dimension cannot be {value}")));
        }
        // Its magnitude is no i64, which the reader of what is written would need.
        if terms.values().any(|coefficient| *coefficient == i64::MIN) {
            return Err(Error::invalid(format_args!(
                "{} is too large for a coefficient of a dimension",
                i64::MIN
            )));
        }
        let fits = terms.len() <= MAX_TERMS && written_bytes(&terms) <= MAX_TEXT;
        let dim = Self::Symbolic(Expression { terms: Arc::new(terms) });
        if fits { Ok(dim) } else { Err(too_long(Short(&dim))) }
    }
}

/// At least as many bytes as the terms have when they are written: signs, a coefficient, and symbols.
fn written_bytes(terms: &Terms) -> usize {
    const SIGN_AND_COEFFICIENT: usize = 3 + 19;
    let names = |symbols: &Vec<Arc<str>>| symbols.iter().map(|symbol| symbol.len() + 1).sum::<usize>();
    terms.keys().map(|symbols| SIGN_AND_COEFFICIENT + names(symbols)).sum()
}

/// The dimensions of each of two shapes that the other does not have. A zero is never one that both have: it hides the others.
fn unshared<'a>(
    left: impl IntoIterator<Item = &'a Dim>,
    right: impl IntoIterator<Item = &'a Dim>,
) -> (Vec<&'a Dim>, Vec<&'a Dim>) {
    let (mut left, mut right): (Vec<_>, Vec<_>) = (left.into_iter().collect(), right.into_iter().collect());
    left.sort_unstable();
    right.sort_unstable();
    let (mut of_left, mut of_right) = (Vec::new(), Vec::new());
    let mut right = right.into_iter().peekable();
    for dim in left {
        of_right.extend(std::iter::from_fn(|| right.next_if(|other| *other < dim)));
        if *dim == Dim::Fixed(0) || right.next_if_eq(&dim).is_none() {
            of_left.push(dim);
        }
    }
    of_right.extend(right);
    (of_left, of_right)
}

fn overflow(left: &Dim, operator: &str, right: &Dim) -> Error {
    Error::invalid(format_args!("`{} {operator} {}` is too large for a dimension", Short(left), Short(right)))
}

fn too_long(what: impl Display) -> Error {
    Error::invalid(format_args!(
        "`{what}` is too long: a dimension has at most {MAX_TERMS} terms and {MAX_TEXT} bytes"
    ))
}

/// What a message shows of a dimension or a text that may be long: its beginning.
struct Short<T>(T);

impl<T: Display> Display for Short<T> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        const MOST: usize = 100;
        let text = self.0.to_string();
        match text.char_indices().nth(MOST) {
            Some((end, _)) => write!(f, "{}..", &text[..end]),
            None => f.write_str(&text),
        }
    }
}

impl From<usize> for Dim {
    fn from(value: usize) -> Self {
        Self::Fixed(value)
    }
}

impl From<&str> for Dim {
    /// The symbol of this name; [`FromStr`] reads expressions.
    fn from(symbol: &str) -> Self {
        Self::Symbolic(Expression { terms: Arc::new(Terms::from([(vec![symbol.into()], 1)])) })
    }
}

impl From<&Dim> for Dim {
    fn from(dim: &Dim) -> Self {
        dim.clone()
    }
}

impl Display for Dim {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let expression = match self {
            Self::Fixed(value) => return write!(f, "{value}"),
            Self::Symbolic(expression) => expression,
        };
        // Terms with symbols first, the constant last: `past + seq + 1`.
        let (constant, symbolic): (Vec<_>, Vec<_>) =
            expression.terms.iter().partition(|(symbols, _)| symbols.is_empty());
        for (index, (symbols, coefficient)) in symbolic.into_iter().chain(constant).enumerate() {
            match (index, *coefficient < 0) {
                (0, true) => f.write_str("-")?,
                (0, false) => {}
                (_, true) => f.write_str(" - ")?,
                (_, false) => f.write_str(" + ")?,
            }
            let magnitude = coefficient.unsigned_abs();
            match (magnitude, symbols.is_empty()) {
                (_, true) => write!(f, "{magnitude}")?,
                (1, false) => f.write_str(&symbols.join("*"))?,
                (_, false) => write!(f, "{magnitude}*{}", symbols.join("*"))?,
            }
        }
        Ok(())
    }
}

impl FromStr for Dim {
    type Err = Error;

    /// Reads sums of products of numbers and symbols, such as `past + 2*seq - 1`.
    ///
    /// A symbol is a letter or `_`, followed by letters, digits and `_`.
    fn from_str(text: &str) -> Result<Self> {
        let wrong = |what: &str| {
            Error::invalid(format_args!(
                "`{}` is no dimension: {what}; write a number, a symbol, or sums of products such as `past + 2*seq`",
                Short(text)
            ))
        };
        if text.len() > MAX_TEXT {
            return Err(too_long(Short(text)));
        }
        let mut sum = Terms::new();
        let mut rest = text.trim();
        let mut sign = 1i64;
        if let Some(after) = rest.strip_prefix('-') {
            (sign, rest) = (-1, after);
        }
        loop {
            let end = rest.find(['+', '-']).unwrap_or(rest.len());
            let mut coefficient = sign;
            let mut symbols = Vec::new();
            for factor in rest[..end].split('*').map(str::trim) {
                if factor.starts_with(|c: char| c.is_ascii_digit()) {
                    coefficient = factor
                        .parse::<i64>()
                        .ok()
                        .and_then(|number| coefficient.checked_mul(number))
                        .ok_or_else(|| wrong("a number is malformed or too large"))?;
                } else if is_symbol(factor) {
                    symbols.push(Arc::from(factor));
                } else {
                    return Err(wrong("a factor is neither a number nor a symbol of at most 64 bytes"));
                }
            }
            symbols.sort();
            let slot = sum.entry(symbols).or_insert(0);
            *slot = slot.checked_add(coefficient).ok_or_else(|| wrong("it is too large"))?;
            if end == rest.len() {
                return Self::from_terms(sum);
            }
            sign = if rest.as_bytes()[end] == b'-' { -1 } else { 1 };
            rest = &rest[end + 1..];
        }
    }
}

/// Whether `name` can name a symbol: a letter or `_`, then letters, digits and `_`, at most [`MAX_SYMBOL`] in all.
pub fn is_symbol(name: &str) -> bool {
    let mut chars = name.chars();
    name.len() <= MAX_SYMBOL
        && chars.next().is_some_and(|first| first.is_ascii_alphabetic() || first == '_')
        && chars.all(|c| c.is_ascii_alphanumeric() || c == '_')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Dim {
        text.parse().unwrap()
    }

    #[test]
    fn expressions_have_one_canonical_form() {
        for (text, canonical) in [
            ("seq + past", "past + seq"),
            ("seq*2*batch + seq*batch", "3*batch*seq"),
            ("1 + seq - 1", "seq"),
            ("seq - seq + 7", "7"),
            ("-1 + n", "n - 1"),
            ("4 * 8", "32"),
        ] {
            assert_eq!(parsed(text).to_string(), canonical);
            assert_eq!(parsed(canonical), parsed(text));
        }
    }

    #[test]
    fn arithmetic_keeps_to_the_canonical_form() {
        let (a, b) = (parsed("n + 1"), parsed("n - 1"));
        assert_eq!(a.mul(&b).unwrap(), parsed("n*n - 1"));
        assert_eq!(a.add(&b).unwrap(), parsed("2*n"));
        assert_eq!(parsed("6*n*m").exact_div(&parsed("2*n")), Some(parsed("3*m")));
        assert_eq!(parsed("6*n + 1").exact_div(&parsed("n")), None);
        assert_eq!(dim(12).exact_div(&dim(5)), None);
        assert_eq!(dim(0).exact_div(&dim(0)), None);
    }

    #[test]
    fn counts_are_compared_without_what_both_shapes_have() {
        let shape = |dims: &[&str]| dims.iter().map(|dim| parsed(dim)).collect::<Vec<_>>();
        let ratio = |left: &[Dim], right: &[Dim]| Dim::count_ratio(left, right).unwrap();
        let sums: Vec<Dim> = (0..8)
            .map(|dim| {
                (0..6).map(|symbol| format!("v{dim}_{symbol}")).collect::<Vec<_>>().join("+").parse().unwrap()
            })
            .collect();
        let turned: Vec<Dim> = sums.iter().rev().cloned().collect();
        assert_eq!(Dim::same_count(&sums, &turned), Ok(true));
        assert_eq!(ratio(&sums, &turned[..7]), Some(sums[0].clone()));
        assert!(
            Dim::same_count(&sums[..3], &turned[..3]).unwrap_err().message().contains("at most 32 terms")
        );
        for (left, right, same) in [
            (&["2", "n"][..], &["n", "2"][..], true),
            (&["a", "b"], &["a*b"], true),
            (&["a", "a"], &["a"], false),
            (&["0", "3"], &["4", "0"], true),
            (&["0", "n"], &["n"], false),
            (&[], &["1"], true),
        ] {
            assert_eq!(Dim::same_count(&shape(left), &shape(right)), Ok(same), "{left:?} {right:?}");
        }
        assert_eq!(ratio(&shape(&["p + s", "64"]), &shape(&["p + s"])), Some(dim(64)));
        assert_eq!(ratio(&shape(&["0", "3"]), &shape(&["3"])), Some(dim(0)));
        assert_eq!(ratio(&shape(&["0", "3"]), &shape(&["0"])), None);
    }

    #[test]
    fn what_is_too_long_is_refused() {
        let sum = |count: usize| (0..count).map(|index| format!("v{index}")).collect::<Vec<_>>().join(" + ");
        let sentence = |result: Result<Dim>| result.unwrap_err().message().to_owned();
        let (most, one) = (parsed(&sum(MAX_TERMS)), dim("one"));
        assert_eq!(most.to_string().parse(), Ok(most.clone()));
        for error in [
            sentence(most.add(&one)),
            sentence(most.mul(&most)),
            sentence(sum(MAX_TERMS + 1).parse()),
            sentence("n".repeat(MAX_TEXT + 1).parse()),
            sentence(vec!["n"; MAX_TEXT / 2].join("*").parse()),
        ] {
            assert!(
                error.ends_with("is too long: a dimension has at most 32 terms and 2048 bytes"),
                "{error}"
            );
            assert!(error.len() < 300, "{error}");
        }
        assert!(is_symbol(&"n".repeat(MAX_SYMBOL)) && !is_symbol(&"n".repeat(MAX_SYMBOL + 1)));
        assert!(sentence("n".repeat(MAX_SYMBOL + 1).parse()).contains("at most 64 bytes"));
    }

    #[test]
    fn coefficients_that_overflow_are_refused() {
        let most = parsed("9223372036854775807*n");
        let least = parsed("-9223372036854775807*n");
        assert_eq!(least.to_string().parse(), Ok(least.clone()));
        for result in
            [most.add(&dim("n")), most.mul(&dim(2)), least.add(&parsed("-1*n")), dim(usize::MAX).mul(&most)]
        {
            assert!(result.unwrap_err().message().contains("too large"));
        }
        assert_eq!(most.add(&least), Ok(dim(0)));
    }

    #[test]
    fn evaluation_reports_what_is_missing_or_impossible() {
        let bindings = Bindings::from([("n".to_owned(), 3)]);
        assert_eq!(parsed("2*n*n + 1").evaluate(&bindings), Ok(19));
        assert!(parsed("m").evaluate(&bindings).unwrap_err().message().contains("`m`"));
        assert_eq!(parsed("4294967296*n*n - 4294967296*n*n + n").evaluate(&bindings), Ok(3));
        assert!(parsed("n - 4").evaluate(&bindings).unwrap_err().message().contains("-1"));
        let huge = Bindings::from([("n".to_owned(), usize::MAX)]);
        assert_eq!(parsed("n").evaluate(&huge), Ok(usize::MAX));
        assert_eq!(parsed("n - n*m + n*m").evaluate(&huge), Ok(usize::MAX));
        for text in ["2*n", "n + 1", "n*n*n", "n*n - 1"] {
            assert!(parsed(text).evaluate(&huge).unwrap_err().message().contains("is too large"), "{text}");
        }
    }

    #[test]
    fn what_is_no_dimension_is_refused() {
        for text in ["", "+", "a b", "2n", "a + ", "-3", "99999999999999999999", "a**b", "é"] {
            assert!(text.parse::<Dim>().is_err(), "{text}");
        }
        assert!(dim(usize::MAX).mul(&dim(2)).is_err());
    }
}
