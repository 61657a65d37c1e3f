//! One choice for each of several items, of the least loss whose bytes fit: a multiple-choice knapsack.
//!
//! The items' lower convex hulls give the answer of the Lagrangian relaxation, which bounds what can be reached. What the bound proves to be
//! in no better answer is left out, and what remains, a few choices of a few items, is searched.

use std::cmp::Reverse;

/// What one choice takes, and what it loses.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Cost {
    pub(super) bytes: u64,
    pub(super) loss: f64,
}

/// Nodes of the search, at most: it ends with the best that it has found. Where more would be needed, the answer is within a ten
/// thousandth of the best, as a rule.
const MAX_NODES: usize = 4_000_000;

/// A step along an item's hull: to a choice of more bytes and less loss.
struct Step {
    item: usize,
    choice: usize,
    /// Loss saved for each byte.
    slope: f64,
}

/// For each item the index of the choice, so that the sum of the losses is the least whose bytes are not above `budget`; none if there is
/// no such choice. Of equal answers it is the one of the earlier choices of the earlier items. Each item has a choice at least, and losses
/// are finite.
pub(super) fn solve(items: &[Vec<Cost>], budget: u64) -> Option<Vec<usize>> {
    let (mut chosen, price) = relax(items, budget)?;
    if let Some(price) = price {
        Search::new(items, budget, price, &chosen).run(&mut chosen);
    }
    Some(chosen)
}

/// The loss that another byte would save, about: zero where all fits.
pub(super) fn price(items: &[Vec<Cost>], budget: u64) -> f64 {
    relax(items, budget).and_then(|(_, price)| price).unwrap_or(0.0)
}

/// The choices that the relaxation ends with, filled up, and the price of a byte where it stops; none where all fits.
fn relax(items: &[Vec<Cost>], budget: u64) -> Option<(Vec<usize>, Option<f64>)> {
    let mut chosen: Vec<usize> = items.iter().map(|choices| smallest(choices)).collect();
    let mut bytes: u64 = sum(items, &chosen).bytes;
    if bytes > budget {
        return None;
    }
    let mut price = None;
    let mut stopped = vec![false; items.len()];
    for step in steps(items, &chosen) {
        let choices = &items[step.item];
        let more = choices[step.choice].bytes - choices[chosen[step.item]].bytes;
        if stopped[step.item] || bytes + more > budget {
            price.get_or_insert(step.slope);
            stopped[step.item] = true;
            continue;
        }
        bytes += more;
        chosen[step.item] = step.choice;
    }
    Some((chosen, price))
}

/// The sums along the way from the fewest bytes to the least loss, a choice at a time, as the relaxation goes it.
pub(super) fn frontier(items: &[Vec<Cost>]) -> Vec<Cost> {
    let mut chosen: Vec<usize> = items.iter().map(|choices| smallest(choices)).collect();
    let mut at = sum(items, &chosen);
    let mut points = vec![at];
    for step in steps(items, &chosen) {
        let (from, to) = (items[step.item][chosen[step.item]], items[step.item][step.choice]);
        chosen[step.item] = step.choice;
        at = Cost { bytes: at.bytes + to.bytes - from.bytes, loss: at.loss + to.loss - from.loss };
        points.push(at);
    }
    points
}

/// The sum of what is chosen.
pub(super) fn sum(items: &[Vec<Cost>], chosen: &[usize]) -> Cost {
    let costs = items.iter().zip(chosen).map(|(choices, chosen)| choices[*chosen]);
    costs.fold(Cost { bytes: 0, loss: 0.0 }, |sum, cost| Cost {
        bytes: sum.bytes + cost.bytes,
        loss: sum.loss + cost.loss,
    })
}

/// The choice of the fewest bytes; of these, the one of the least loss.
fn smallest(choices: &[Cost]) -> usize {
    let order = |index: &usize| (choices[*index].bytes, choices[*index].loss);
    let less = |a: &usize, b: &usize| order(a).0.cmp(&order(b).0).then(order(a).1.total_cmp(&order(b).1));
    (0..choices.len()).min_by(less).unwrap_or_default()
}

/// The steps along the hulls of all items, the ones that save most for a byte first.
fn steps(items: &[Vec<Cost>], smallest: &[usize]) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    for (item, (choices, first)) in items.iter().zip(smallest).enumerate() {
        let mut at = *first;
        while let Some((choice, slope)) = steepest(choices, at) {
            steps.push(Step { item, choice, slope });
            at = choice;
        }
    }
    // A stable order: slopes of an item only fall, and equal ones stay in the items' order.
    steps.sort_by(|a, b| b.slope.total_cmp(&a.slope));
    steps
}

/// The choice after `at` on the hull, and what it saves for a byte.
fn steepest(choices: &[Cost], at: usize) -> Option<(usize, f64)> {
    let from = choices[at];
    let slope = |to: &Cost| (from.loss - to.loss) / (to.bytes - from.bytes) as f64;
    let later = choices.iter().enumerate().filter(|(_, to)| to.bytes > from.bytes && to.loss < from.loss);
    let slopes = later.map(|(index, to)| (index, slope(to), to.bytes));
    // Of several on one line the largest is the next corner.
    let best = slopes.max_by(|a, b| a.1.total_cmp(&b.1).then(a.2.cmp(&b.2)).then(b.0.cmp(&a.0)));
    best.map(|(index, slope, _)| (index, slope))
}

/// A choice that may be in a better answer, and by how much it is above its item's best at the price.
#[derive(Clone, Copy)]
struct Reduced {
    choice: usize,
    bytes: u64,
    cost: f64,
}

/// A depth-first search of what the relaxation does not rule out.
struct Search {
    /// Of each item that has a choice left: its index, and its choices, the cheapest at the price first.
    items: Vec<(usize, Vec<Reduced>)>,
    /// The fewest bytes of the items from each on.
    least_bytes: Vec<u64>,
    /// The bytes that these items may take.
    budget: u64,
    price: f64,
    /// The sum of reduced costs and of the price of the bytes that are left, of the best answer so far.
    best: f64,
    nodes: usize,
    path: Vec<usize>,
    found: Option<Vec<usize>>,
}

impl Search {
    fn new(items: &[Vec<Cost>], budget: u64, price: f64, chosen: &[usize]) -> Self {
        let at_price = |cost: &Cost| cost.loss + price * cost.bytes as f64;
        let least = |choices: &[Cost]| choices.iter().map(at_price).fold(f64::INFINITY, f64::min);
        let reduced = |choices: &[Cost], choice: usize| at_price(&choices[choice]) - least(choices);
        let left = (budget - sum(items, chosen).bytes) as f64;
        let known = items.iter().zip(chosen).map(|(choices, chosen)| reduced(choices, *chosen));
        let best = known.sum::<f64>() + price * left;
        let mut open = Vec::new();
        let mut budget = budget;
        for (item, choices) in items.iter().enumerate() {
            let kept = (0..choices.len()).map(|choice| Reduced {
                choice,
                bytes: choices[choice].bytes,
                cost: reduced(choices, choice),
            });
            let mut kept: Vec<Reduced> = kept.filter(|reduced| reduced.cost <= best).collect();
            kept.sort_by(|a, b| a.cost.total_cmp(&b.cost).then(a.choice.cmp(&b.choice)));
            match &kept[..] {
                // It is the answer's, whatever the others are.
                [only] => budget = budget.saturating_sub(only.bytes),
                _ => open.push((item, kept)),
            }
        }
        // Those whose second choice costs most decide first: what they rule out is ruled out near the root.
        open.sort_by_key(|(item, kept)| (Reverse(ordered(kept.get(1).map_or(0.0, |next| next.cost))), *item));
        let mut least_bytes = vec![0; open.len() + 1];
        for (index, (_, kept)) in open.iter().enumerate().rev() {
            least_bytes[index] = least_bytes[index + 1] + kept.iter().map(|it| it.bytes).min().unwrap_or(0);
        }
        Self { items: open, least_bytes, budget, price, best, nodes: 0, path: Vec::new(), found: None }
    }

    fn run(mut self, chosen: &mut [usize]) {
        self.visit(0, 0, 0.0);
        if let Some(found) = &self.found {
            for ((item, kept), index) in self.items.iter().zip(found) {
                chosen[*item] = kept[*index].choice;
            }
        }
    }

    fn visit(&mut self, depth: usize, bytes: u64, cost: f64) {
        self.nodes += 1;
        if depth == self.items.len() {
            let all = cost + self.price * (self.budget - bytes) as f64;
            if all < self.best {
                (self.best, self.found) = (all, Some(self.path.clone()));
            }
            return;
        }
        for index in 0..self.items[depth].1.len() {
            let next = self.items[depth].1[index];
            if cost + next.cost >= self.best || self.nodes > MAX_NODES {
                return;
            }
            let bytes = bytes + next.bytes;
            if bytes + self.least_bytes[depth + 1] <= self.budget {
                self.path.push(index);
                self.visit(depth + 1, bytes, cost + next.cost);
                self.path.pop();
            }
        }
    }
}

/// The bits of a float that is not negative, which are in its order.
fn ordered(value: f64) -> u64 {
    value.max(0.0).to_bits()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A generator of numbers that are the same everywhere: a multiplication and an addition, of which the upper bits count.
    struct Numbers(u64);

    impl Numbers {
        fn below(&mut self, end: u64) -> u64 {
            self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (self.0 >> 33) % end
        }
    }

    fn best_of_all(items: &[Vec<Cost>], budget: u64) -> Option<f64> {
        let count: usize = items.iter().map(Vec::len).product();
        let chosen = |mut index: usize| {
            let digit = |choices: &Vec<Cost>| {
                let digit = index % choices.len();
                index /= choices.len();
                digit
            };
            items.iter().map(digit).collect::<Vec<usize>>()
        };
        let sums = (0..count).map(|index| sum(items, &chosen(index))).filter(|sum| sum.bytes <= budget);
        sums.map(|sum| sum.loss).min_by(f64::total_cmp)
    }

    #[test]
    fn the_answer_is_the_best_of_all() {
        let mut numbers = Numbers(7);
        for case in 0..300 {
            let items: Vec<Vec<Cost>> = (0..1 + numbers.below(6))
                .map(|_| {
                    let sensitivity = 1.0 + numbers.below(50) as f64;
                    (0..1 + numbers.below(5))
                        .map(|_| Cost {
                            bytes: 10 + numbers.below(40),
                            loss: sensitivity * numbers.below(100) as f64 / 16.0,
                        })
                        .collect()
                })
                .collect();
            for budget in [0, 20, 60, 100, 140, 200, 400] {
                let expected = best_of_all(&items, budget);
                let found = solve(&items, budget).map(|chosen| sum(&items, &chosen));
                assert_eq!(found.map(|sum| sum.loss), expected, "case {case}, budget {budget}: {items:?}");
                assert!(found.is_none_or(|sum| sum.bytes <= budget));
            }
        }
    }

    /// As many weights as a model has, of few sizes, whose losses are those of rounding to so many bits.
    #[test]
    fn a_model_is_filled_to_the_brim() {
        let mut numbers = Numbers(3);
        let items: Vec<Vec<Cost>> = (0..211)
            .map(|_| {
                let values = [331_776, 110_592, 884_736][numbers.below(3) as usize];
                let sensitivity = 2f64.powf(numbers.below(90) as f64 / 10.0 - 6.0);
                let of_bits = |quarters: u32| Cost {
                    bytes: values / 32 * u64::from(quarters),
                    loss: sensitivity * 2f64.powf(-f64::from(quarters) / 2.0),
                };
                [9, 14, 18, 20, 22, 24, 26, 34, 64].map(of_bits).to_vec()
            })
            .collect();
        let most = sum(&items, &vec![8; items.len()]).bytes;
        for part in [0.2, 0.3, 0.37, 0.5] {
            let budget = (most as f64 * part) as u64;
            let chosen = solve(&items, budget).unwrap();
            let found = sum(&items, &chosen);
            assert!(
                found.bytes <= budget && found.bytes as f64 > 0.999 * budget as f64,
                "{found:?} of {budget}"
            );
            let points = frontier(&items);
            let after = points.iter().position(|point| point.bytes > budget).unwrap();
            assert!(found.loss >= points[after].loss && found.loss <= points[after - 1].loss);
        }
    }

    #[test]
    fn equal_choices_are_the_earlier_ones() {
        let same = Cost { bytes: 4, loss: 1.0 };
        assert_eq!(solve(&[vec![same, same], vec![same]], 8), Some(vec![0, 0]));
        assert_eq!(solve(&[vec![same, same], vec![same]], 7), None);
        assert_eq!(solve(&[], 0), Some(Vec::new()));
    }
}
