//! Dimensions: numbers, or polynomials over named symbols.

use std::collections::BTreeMap;
use std::fmt::{self, Display, Formatter};
use std::str::FromStr;

use crate::{Error, Result};

/// One dimension of a shape: a number, or an expression such as `past + seq` or `2*batch*seq` that a run binds.
///
/// Expressions are kept as polynomials in canonical form, so that two dimensions are equal exactly when they are the
/// same polynomial, and [`Display`] and [`FromStr`] are inverse.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Dim {
    /// A number known when the graph is built.
    Fixed(usize),
    /// An expression with at least one symbol.
    Symbolic(Expression),
}

/// A polynomial with integer coefficients over symbols, in canonical form and not constant.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Expression {
    /// Coefficient of each product of symbols (sorted, with repetition); no coefficient is zero.
    terms: BTreeMap<Vec<String>, i64>,
}

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
        let mut product = BTreeMap::new();
        for (left, a) in &self.terms()? {
            for (right, b) in &other.terms()? {
                let mut symbols = [left.as_slice(), right.as_slice()].concat();
                symbols.sort();
                let slot = product.entry(symbols).or_insert(0i64);
                *slot = a
                    .checked_mul(*b)
                    .and_then(|term| slot.checked_add(term))
                    .ok_or_else(|| overflow(self, "*", other))?;
            }
        }
        Self::from_terms(product)
    }

    /// The product of all dimensions of a shape: its number of values.
    pub fn product<'a>(shape: impl IntoIterator<Item = &'a Dim>) -> Result<Dim> {
        shape.into_iter().try_fold(Dim::Fixed(1), |product, dim| product.mul(dim))
    }

    /// The quotient, where the division by a single product of symbols leaves no remainder in any term.
    pub fn exact_div(&self, divisor: &Self) -> Option<Self> {
        if let (Self::Fixed(a), Self::Fixed(b)) = (self, divisor) {
            return (*b != 0 && a % b == 0).then(|| Self::Fixed(a / b));
        }
        let divisor = divisor.terms().ok()?;
        let (by_symbols, by) = divisor.iter().next().filter(|_| divisor.len() == 1)?;
        let mut quotient = BTreeMap::new();
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
        let mut sum = 0i64;
        for (symbols, coefficient) in &expression.terms {
            let mut term = *coefficient;
            for symbol in symbols {
                let value = bindings.get(symbol).ok_or_else(|| {
                    Error::invalid(format_args!("the symbol `{symbol}` of dimension `{self}` has no value"))
                })?;
                term = i64::try_from(*value)
                    .ok()
                    .and_then(|value| term.checked_mul(value))
                    .ok_or_else(|| Error::invalid(format_args!("dimension `{self}` is too large")))?;
            }
            sum = sum
                .checked_add(term)
                .ok_or_else(|| Error::invalid(format_args!("dimension `{self}` is too large")))?;
        }
        usize::try_from(sum)
            .map_err(|_| Error::invalid(format_args!("dimension `{self}` is {sum}, which is no length")))
    }

    /// The symbols that occur, each once, in order.
    pub fn symbols(&self) -> Vec<&str> {
        let Self::Symbolic(expression) = self else { return Vec::new() };
        let mut symbols: Vec<&str> = expression.terms.keys().flatten().map(String::as_str).collect();
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

    fn terms(&self) -> Result<BTreeMap<Vec<String>, i64>> {
        match self {
            Self::Fixed(0) => Ok(BTreeMap::new()),
            Self::Fixed(value) => {
                let value = i64::try_from(*value)
                    .map_err(|_| Error::invalid(format_args!("dimension {value} is too large")))?;
                Ok(BTreeMap::from([(Vec::new(), value)]))
            }
            Self::Symbolic(expression) => Ok(expression.terms.clone()),
        }
    }

    fn from_terms(mut terms: BTreeMap<Vec<String>, i64>) -> Result<Self> {
        terms.retain(|_, coefficient| *coefficient != 0);
        if terms.keys().any(|symbols| !symbols.is_empty()) {
            return Ok(Self::Symbolic(Expression { terms }));
        }
        let value = terms.into_values().next().unwrap_or(0);
        usize::try_from(value)
            .map(Self::Fixed)
            .map_err(|_| Error::invalid(format_args!("a dimension cannot be {value}")))
    }
}

fn overflow(left: &Dim, operator: &str, right: &Dim) -> Error {
    Error::invalid(format_args!("`{left} {operator} {right}` is too large for a dimension"))
}

impl From<usize> for Dim {
    fn from(value: usize) -> Self {
        Self::Fixed(value)
    }
}

impl From<&str> for Dim {
    /// The symbol of this name; [`FromStr`] reads expressions.
    fn from(symbol: &str) -> Self {
        Self::Symbolic(Expression { terms: BTreeMap::from([(vec![symbol.to_owned()], 1)]) })
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
                "`{text}` is no dimension: {what}; write a number, a symbol, or sums of products such as `past + 2*seq`"
            ))
        };
        let mut sum: BTreeMap<Vec<String>, i64> = BTreeMap::new();
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
                    symbols.push(factor.to_owned());
                } else {
                    return Err(wrong("a factor is neither a number nor a symbol"));
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

/// Whether `name` can name a symbol.
pub fn is_symbol(name: &str) -> bool {
    let mut chars = name.chars();
    chars.next().is_some_and(|first| first.is_ascii_alphabetic() || first == '_')
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
    fn evaluation_reports_what_is_missing_or_impossible() {
        let bindings = Bindings::from([("n".to_owned(), 3)]);
        assert_eq!(parsed("2*n*n + 1").evaluate(&bindings), Ok(19));
        assert!(parsed("m").evaluate(&bindings).unwrap_err().message().contains("`m`"));
        assert!(parsed("n - 4").evaluate(&bindings).unwrap_err().message().contains("-1"));
        let huge = Bindings::from([("n".to_owned(), usize::MAX)]);
        assert!(parsed("n").evaluate(&huge).is_err());
    }

    #[test]
    fn what_is_no_dimension_is_refused() {
        for text in ["", "+", "a b", "2n", "a + ", "-3", "99999999999999999999", "a**b", "é"] {
            assert!(text.parse::<Dim>().is_err(), "{text}");
        }
        assert!(dim(usize::MAX).mul(&dim(2)).is_err());
    }
}
