//! From a draft to a declaration.

use std::ops::RangeInclusive;

use bitquilt_plugin_api::{EncodingSpec, name_problem};

use crate::declaration::{Codes, Declaration, Meaning};
use crate::draft::{CodesKind, Draft, DraftEntries, EntriesKind};
use crate::error::{DeclarationError, MAX_SUMMARY, Problem};
use crate::field::{Entries, Order, Stored};
use crate::float::ScaleDType;

type Checked<T> = Result<T, DeclarationError>;

impl Draft {
    pub(crate) fn check(self) -> Checked<Declaration> {
        let name = self.name()?;
        let version = self.within("version", self.version.unwrap_or(1), 1..=u32::MAX.into())?;
        let summary = self.summary()?;
        let sizes = 1..=EncodingSpec::MAX_BLOCK as i64;
        let block_len = self.present("block_len", self.block_len, "block_len = 64")?;
        let block_len = self.within("block_len", block_len, sizes.clone())? as usize;
        let block_bytes = self.present("block_bytes", self.block_bytes, "block_bytes = 34")?;
        let block_bytes = self.within("block_bytes", block_bytes, sizes)? as usize;
        let groups = self.within("groups", self.groups.unwrap_or(1), 1..=block_len as i64)? as usize;
        if !block_len.is_multiple_of(groups) {
            return Err(self.error("groups", Problem::Groups { groups, block_len }));
        }
        let (codes, meaning) = self.codes(block_len, block_bytes)?;
        let scale = self.present("scale", self.scale, "scale = { at = 0, dtype = \"f16\" }")?;
        let scale = self.entries("scale", scale, block_bytes)?;
        let place = |key, draft: Option<DraftEntries>| {
            draft.map(|draft| self.entries(key, draft, block_bytes)).transpose()
        };
        let (super_scale, min) = (place("super_scale", self.super_scale)?, place("min", self.min)?);
        let zero = place("zero", self.zero)?;
        if matches!(scale.stored, Stored::Bits(_)) && super_scale.is_none() {
            let reason = "a scale of bits is a multiple of it";
            return Err(self.error("scale", Problem::Needs { other: "super_scale", reason }));
        }
        for (key, what, entries) in [("min.dtype", "a minimum", min), ("zero.dtype", "a zero", zero)] {
            if entries.is_some_and(|entries| entries.stored == Stored::Float(ScaleDType::E8M0)) {
                return Err(self.error(key, Problem::NoSign { what }));
            }
        }
        let conflict = |other, reason| Err(self.error("zero", Problem::Conflict { other, reason }));
        match meaning {
            _ if zero.is_none() => {}
            _ if min.is_some() => return conflict("min", "the one says what the other says"),
            Meaning::Values { .. } => return conflict("values", "a zero is taken from whole numbers"),
            Meaning::Float { .. } => return conflict("codes.dtype", "a zero is taken from whole numbers"),
            Meaning::Offset(_) | Meaning::Signed => {}
        }
        let code_field = ("codes", codes.at, codes.bytes(block_len));
        let fields = [("scale", Some(scale), groups), ("super_scale", super_scale, 1)];
        let fields = fields.into_iter().chain([("min", min, groups), ("zero", zero, groups)]);
        let fields =
            fields.filter_map(|(key, entries, count)| Some((key, entries?.at, entries?.bytes(count))));
        self.check_places([code_field].into_iter().chain(fields).collect(), block_bytes)?;
        let levels = meaning.levels(codes.bits);
        Ok(Declaration {
            name,
            version: version as u32,
            summary,
            block_len,
            block_bytes,
            groups,
            codes,
            meaning,
            scale,
            super_scale,
            min,
            zero,
            levels,
        })
    }

    fn present<T>(&self, key: &str, value: Option<T>, example: &'static str) -> Checked<T> {
        value.ok_or_else(|| self.error(key, Problem::Missing { example }))
    }

    fn within(&self, key: &str, found: i64, range: RangeInclusive<i64>) -> Checked<i64> {
        let (least, greatest) = (*range.start(), *range.end());
        match range.contains(&found) {
            true => Ok(found),
            false => Err(self.error(key, Problem::Range { found, least, greatest })),
        }
    }

    fn finite(&self, key: &str, value: f32) -> Checked<f32> {
        match value.is_finite() {
            true => Ok(value),
            false => Err(self.error(key, Problem::NotFinite { found: value.to_string() })),
        }
    }

    fn name(&self) -> Checked<String> {
        let name = self.present("name", self.name.as_ref(), "name = \"my.int4\"")?;
        match name_problem(name) {
            None => Ok(name.clone()),
            Some(problem) => Err(self.error("name", Problem::Name { name: name.clone(), problem })),
        }
    }

    fn summary(&self) -> Checked<String> {
        let summary = self.summary.clone().unwrap_or_default();
        if summary.len() > MAX_SUMMARY || summary.chars().any(char::is_control) {
            return Err(self.error("summary", Problem::Summary));
        }
        Ok(summary)
    }

    fn codes(&self, block_len: usize, block_bytes: usize) -> Checked<(Codes, Meaning)> {
        let codes = self.present("codes", self.codes, "codes = { at = 2, bits = 4 }")?;
        let at = self.within("codes.at", codes.at, 0..=block_bytes as i64)? as usize;
        match codes.kind {
            CodesKind::Float(dtype) => {
                let reason = "codes of a dtype have its values";
                let others = [
                    ("values", self.values.is_some()),
                    ("offset", self.offset.is_some()),
                    ("signed", self.signed),
                ];
                if let Some((key, _)) = others.into_iter().find(|(_, given)| *given) {
                    return Err(self.error(key, Problem::Conflict { other: "codes.dtype", reason }));
                }
                if self.unused.is_some() && dtype.is_all_finite() {
                    return Err(self.error("unused", Problem::NothingUnused));
                }
                let unused = self.unused.map(|value| self.finite("unused", value)).transpose()?;
                let codes = Codes { at, bits: dtype.bits(), order: Order::Sequential };
                Ok((codes, Meaning::Float { dtype, unused }))
            }
            CodesKind::Bits { bits, order } => {
                let bits = self.within("codes.bits", bits, 1..=8)? as u32;
                let halves = |found| Err(self.error("codes.order", Problem::Halves { found }));
                match order {
                    Order::Halves if bits != 4 => halves(format!("these have {bits} bits"))?,
                    Order::Halves if !block_len.is_multiple_of(2) => {
                        halves(format!("this has {block_len} values"))?
                    }
                    _ => {}
                }
                Ok((Codes { at, bits, order }, self.meaning(bits)?))
            }
        }
    }

    fn meaning(&self, bits: u32) -> Checked<Meaning> {
        let reason = "each says what a code stands for";
        let conflict = |key, other| Err(self.error(key, Problem::Conflict { other, reason }));
        match (&self.values, self.offset, self.signed) {
            (Some(_), Some(_), _) => conflict("offset", "values"),
            (Some(_), _, true) => conflict("signed", "values"),
            (_, Some(_), true) => conflict("signed", "offset"),
            (None, offset, signed) => {
                if self.unused.is_some() {
                    return Err(self.error("unused", Problem::NothingUnused));
                }
                let offset = self.within("offset", offset.unwrap_or(0), 0..=(1 << bits) - 1)?;
                Ok(if signed { Meaning::Signed } else { Meaning::Offset(offset as u32) })
            }
            (Some(values), None, false) => {
                let (found, all) = (values.len(), 1 << bits);
                if found == 0 || found > all || found < all && self.unused.is_none() {
                    return Err(self.error("values", Problem::Entries { found, bits }));
                }
                for (index, value) in values.iter().enumerate() {
                    self.finite(&format!("values[{index}]"), *value)?;
                }
                if found == all && self.unused.is_some() {
                    return Err(self.error("unused", Problem::NothingUnused));
                }
                let unused = self.unused.map(|value| self.finite("unused", value)).transpose()?;
                Ok(Meaning::Values { values: values.clone(), unused })
            }
        }
    }

    fn entries(&self, key: &str, draft: DraftEntries, block_bytes: usize) -> Checked<Entries> {
        let at = self.within(&format!("{key}.at"), draft.at, 0..=block_bytes as i64)? as usize;
        let stored = match draft.kind {
            EntriesKind::Float(dtype) => Stored::Float(dtype),
            EntriesKind::Bits(bits) => Stored::Bits(self.within(&format!("{key}.bits"), bits, 1..=8)? as u32),
        };
        Ok(Entries { at, stored })
    }

    /// Fields, each a key, its first byte and its bytes, lie in the block and apart.
    fn check_places(&self, fields: Vec<(&'static str, usize, usize)>, block_bytes: usize) -> Checked<()> {
        for (index, &(key, at, bytes)) in fields.iter().enumerate() {
            let end = at + bytes;
            if end > block_bytes {
                return Err(self.error(key, Problem::Beyond { at, end, block_bytes }));
            }
            for &(other, other_at, other_bytes) in &fields[..index] {
                let other_end = other_at + other_bytes;
                if at < other_end && other_at < end {
                    return Err(self.error(key, Problem::Overlap { at, end, other, other_at, other_end }));
                }
            }
        }
        Ok(())
    }
}
