//! From rows to blocks.

use bitquilt_plugin_api::Rows;

use crate::declaration::{Declaration, StoredFactors};
use crate::field::{Entries, Stored};
use crate::float::ScaleDType;
use crate::measure::Group;
use crate::nearest::Nearest;
use crate::search::{Choice, Searcher};

/// What is the same for all blocks of an encoding.
pub(crate) struct Encoder<'a> {
    declaration: &'a Declaration,
    nearest: Nearest,
}

/// The choices for the groups of a block, the stored bits of its super scale, and what they leave.
struct BlockChoice {
    super_scale: u32,
    groups: Vec<Choice>,
    error: f64,
}

impl<'a> Encoder<'a> {
    pub(crate) fn new(declaration: &'a Declaration) -> Self {
        Self { declaration, nearest: Nearest::new(declaration) }
    }

    /// Encodes rows that are whole blocks; `importance` has a weight for each column.
    pub(crate) fn encode(&self, rows: Rows<'_>, importance: Option<&[f32]>, dst: &mut [u8]) {
        let (len, bytes) = (self.declaration.block_len, self.declaration.block_bytes);
        // What is no weight weighs nothing.
        let weight = |weight: &f32| if *weight > 0.0 { weight.min(f32::MAX) } else { 0.0 };
        let weights: Option<Vec<f32>> = importance.map(|weights| weights.iter().map(weight).collect());
        let mut codes = vec![0; len];
        let blocks = dst.chunks_exact_mut(bytes).zip(rows.values().chunks_exact(len));
        for (index, (block, values)) in blocks.enumerate() {
            let column = index * len % rows.row_len();
            let weights = weights.as_ref().map(|weights| &weights[column..][..len]);
            self.block(values, weights, &mut codes, block);
        }
    }

    fn block(&self, values: &[f32], weights: Option<&[f32]>, codes: &mut [u8], block: &mut [u8]) {
        let declaration = self.declaration;
        let len = declaration.group_len();
        let groups: Vec<Group<'_>> = (0..declaration.groups)
            .map(|group| {
                let weights = weights.map(|weights| &weights[group * len..][..len]);
                // Where nothing is important, all is alike.
                let weights = weights.filter(|weights| weights.iter().any(|weight| *weight > 0.0));
                Group { values: &values[group * len..][..len], weights }
            })
            .collect();
        let choice = match declaration.super_scale.and_then(Entries::dtype) {
            None => self.groups_alone(&groups),
            Some(dtype) => self.groups_together(&groups, dtype),
        };
        for (index, (choice, group)) in choice.groups.iter().zip(&groups).enumerate() {
            self.nearest.codes(group.values, choice.factors, &mut codes[index * len..][..len]);
        }
        let stored: Vec<StoredFactors> = choice.groups.iter().map(|choice| choice.raw).collect();
        declaration.assemble(choice.super_scale, &stored, codes, block);
    }

    /// Without a super scale each group is for itself.
    fn groups_alone(&self, groups: &[Group<'_>]) -> BlockChoice {
        let takes_signs = matches!(self.declaration.scale.stored, Stored::Float(dtype) if dtype.is_signed());
        let searcher = self.searcher(self.declaration.scale.stored, None, takes_signs);
        let choose = |group: &Group<'_>| {
            let mut search = searcher.begin(*group);
            search.run();
            search.best
        };
        BlockChoice { super_scale: 0, groups: groups.iter().map(choose).collect(), error: 0.0 }
    }

    /// The groups' scales are found as if they were stored as f32; then the super scale; then the stored scales for it.
    fn groups_together(&self, groups: &[Group<'_>], dtype: ScaleDType) -> BlockChoice {
        let free = self.searcher(Stored::Float(ScaleDType::F32), None, false);
        let (mut fitting, mut found) = (0f64, 0f64);
        let ideal: Vec<Choice> = groups
            .iter()
            .map(|group| {
                let mut search = free.begin(*group);
                search.run();
                fitting = fitting.max(search.fitting(1.0));
                found = found.max(search.best.factors.scale.into());
                search.best
            })
            .collect();
        // The number that the largest scale is stored as.
        let top = match self.declaration.scale.stored {
            Stored::Bits(bits) => f64::from((1u32 << bits) - 1),
            Stored::Float(ScaleDType::F8E4M3) => ScaleDType::F8E4M3.largest().into(),
            Stored::Float(_) => 1.0,
        };
        let mut candidates = vec![dtype.store(fitting / top)];
        for factor in [1.0, 0.96] {
            candidates.push(dtype.store(found * factor / top));
        }
        if dtype.size() == 1 {
            let beside = |raw: &u32| [raw.saturating_sub(1), raw + 1];
            let more: Vec<u32> = candidates.iter().flat_map(beside).collect();
            candidates.extend(more.into_iter().filter(|raw| dtype.value(*raw) > 0.0));
        }
        let mut best: Option<BlockChoice> = None;
        for index in 0..candidates.len() {
            if !candidates[..index].contains(&candidates[index]) {
                self.offer(groups, &ideal, dtype, candidates[index], &mut best);
            }
        }
        if let Some(raw) = best.as_ref().and_then(|best| self.refined(groups, best, dtype)) {
            self.offer(groups, &ideal, dtype, raw, &mut best);
        }
        best.unwrap_or(BlockChoice { super_scale: 0, groups: ideal, error: f64::INFINITY })
    }

    /// Takes a super scale if it leaves less.
    fn offer(
        &self,
        groups: &[Group<'_>],
        ideal: &[Choice],
        dtype: ScaleDType,
        super_scale: u32,
        best: &mut Option<BlockChoice>,
    ) {
        let searcher = self.searcher(self.declaration.scale.stored, Some(dtype.value(super_scale)), false);
        let mut choices = Vec::with_capacity(groups.len());
        let mut error = 0.0;
        for (group, ideal) in groups.iter().zip(ideal) {
            let mut search = searcher.begin(*group);
            // The first super scale is that of absmax scaling.
            if best.is_none() {
                search.run_baselines();
            }
            search.run_from(ideal.factors);
            error += search.best.error;
            choices.push(search.best);
        }
        if best.as_ref().is_none_or(|best| error < best.error) {
            *best = Some(BlockChoice { super_scale, groups: choices, error });
        }
    }

    /// The super scale that is best for the codes and scales of a choice.
    fn refined(&self, groups: &[Group<'_>], choice: &BlockChoice, dtype: ScaleDType) -> Option<u32> {
        let (mut above, mut below) = (0.0, 0.0);
        for (group, choice) in groups.iter().zip(&choice.groups) {
            let m = self.nearest.moments(*group, choice.factors);
            let ratio = f64::from(self.declaration.scale.stored.value(choice.raw.scale));
            above += ratio * (m.lx - m.l * f64::from(choice.factors.min));
            below += ratio * ratio * m.ll;
        }
        let raw = if below > 0.0 { dtype.store(above / below) } else { return None };
        (raw != choice.super_scale && dtype.value(raw) > 0.0).then_some(raw)
    }

    fn searcher(&self, scale: Stored, super_scale: Option<f32>, takes_signs: bool) -> Searcher<'_> {
        let (declaration, nearest) = (self.declaration, &self.nearest);
        Searcher { declaration, nearest, scale, super_scale, takes_signs }
    }
}
