//! In which order n operands are multiplied, two at a time.
//!
//! The order decides the cost: of three matrices of 10×1000, 1000×10 and 10×1000 elements, (ab)c takes 2·10⁵ multiplications and
//! a(bc) 2·10⁷. A product of two costs as many multiplications as its indices, kept and summed, have combinations; an index is
//! summed as soon as no other operand and not the output has it.
//!
//! Up to [`EXACT`] operands: dynamic programming over subsets. The cheapest way to make a subset is the cheapest pair of ways to
//! make its two halves, whatever is done with the result, since the indices of the result depend on the subset alone:
//!
//! ```text
//! cost{a,b,c} = min( cost{a,b} + pair({a,b},{c}), cost{a,c} + pair({a,c},{b}), cost{b,c} + pair({b,c},{a}) )
//! ```
//!
//! 3ⁿ/2 pairs: 270,000 for 12 operands. Outer products are not left out, so the result is optimal. Beyond that the pair whose
//! product is smallest compared with what it replaces is multiplied first, again and again (O(n³)).
//!
//! Ties go to the order with the smaller largest intermediate, then to the one met first, so that all ranks find the same.
//!
//! R. N. C. Pfeifer, J. Haegeman, F. Verstraete: Faster identification of optimal contraction sequences for tensor networks,
//! Physical Review E 90, 033315 (2014). The greedy rule is that of D. G. A. Smith, J. Gray: opt_einsum, JOSS 3(26), 753 (2018).

use bireme_engine::error::{Error, Result};

use super::{Einsum, Extents};

/// So many operands are ordered optimally.
pub const EXACT: usize = 12;

/// One pairwise product.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    /// Numbers of the two operands: those of the contraction from 0, then one for each step before.
    pub operands: [usize; 2],
    /// What is computed.
    pub einsum: Einsum,
}

/// Pairwise products that make a contraction; the last has its output.
#[derive(Clone, Debug, PartialEq)]
pub struct Order {
    /// One fewer than there are operands.
    pub steps: Vec<Step>,
    /// Multiplications of all steps; an `f64`, as it may be beyond 2⁶⁴.
    pub multiplications: f64,
    /// Elements of the largest result of a step.
    pub largest: f64,
}

/// The cheapest order of pairwise products.
///
/// ```
/// use bireme_operators::contract::{Einsum, order};
///
/// let chain = Einsum::parse("ab,bc,cd->ad")?;
/// let found = order(&chain, &chain.extents(&[&[10, 1000], &[1000, 10], &[10, 1000]])?)?;
/// assert_eq!(found.steps[0].operands, [0, 1]);
/// assert_eq!(found.steps[1].einsum.to_string(), "cd,ac->ad");
/// assert_eq!(found.multiplications, 2e5);
/// # Ok::<(), bireme_engine::error::Error>(())
/// ```
///
/// # Errors
///
/// None for a contraction that was parsed; an internal error otherwise.
///
/// Source: Pfeifer, Haegeman, Verstraete (2014); opt_einsum's greedy rule beyond [`EXACT`] operands.
pub fn order(einsum: &Einsum, extents: &Extents) -> Result<Order> {
    let network = Network::new(einsum, extents);
    let pairs = if einsum.operands().len() <= EXACT { network.exact() } else { network.greedy() };
    network.write_out(einsum, &pairs)
}

/// Index letters as bits.
type Letters = u64;

/// A contraction as sets of letters.
struct Network {
    letters: Vec<char>,
    extents: Vec<f64>,
    operands: Vec<Letters>,
    output: Letters,
}

/// The cheapest known way to make a subset.
#[derive(Clone, Copy)]
struct Best {
    cost: f64,
    largest: f64,
    left: usize,
}

impl Network {
    fn new(einsum: &Einsum, extents: &Extents) -> Self {
        let letters = einsum.letters();
        let bits = |list: &[char]| {
            letters
                .iter()
                .enumerate()
                .filter(|(_, letter)| list.contains(letter))
                .fold(0, |bits, (at, _)| bits | 1 << at)
        };
        Self {
            extents: letters.iter().map(|&letter| extents.of(letter) as f64).collect(),
            operands: einsum.operands().iter().map(|list| bits(list)).collect(),
            output: bits(einsum.output()),
            letters,
        }
    }

    fn size(&self, mut letters: Letters) -> f64 {
        let mut size = 1.0;
        while letters != 0 {
            size *= self.extents[letters.trailing_zeros() as usize];
            letters &= letters - 1;
        }
        size
    }

    /// The pairs, each as numbers of operands and earlier steps.
    fn exact(&self) -> Vec<[usize; 2]> {
        let count = self.operands.len();
        let all = (1_usize << count) - 1;
        let union = |subset: usize| {
            self.operands
                .iter()
                .enumerate()
                .filter(|(at, _)| subset >> at & 1 == 1)
                .fold(0, |union, (_, one)| union | one)
        };
        let unions: Vec<Letters> = (0..=all).map(union).collect();
        // What is left of a subset when all that can be summed has been. Of an operand alone too: that costs one pass over it.
        let kept: Vec<Letters> =
            (0..=all).map(|subset| unions[subset] & (unions[all & !subset] | self.output)).collect();
        let mut best = vec![Best { cost: f64::INFINITY, largest: f64::INFINITY, left: 0 }; all + 1];
        for operand in 0..count {
            best[1 << operand] = Best { cost: 0.0, largest: 0.0, left: 0 };
        }
        for subset in 1..=all {
            if subset.is_power_of_two() {
                continue;
            }
            let size = self.size(kept[subset]);
            let lowest = subset & subset.wrapping_neg();
            // All parts with the lowest operand: each pair of halves once.
            let mut left = subset;
            loop {
                left = (left - 1) & subset;
                if left == 0 {
                    break;
                }
                if left & lowest == 0 {
                    continue;
                }
                let right = subset & !left;
                let so_far = best[left].cost + best[right].cost;
                if so_far > best[subset].cost {
                    continue;
                }
                let cost = so_far + self.size(kept[left] | kept[right]);
                let largest = best[left].largest.max(best[right].largest).max(size);
                if (cost, largest) < (best[subset].cost, best[subset].largest) || best[subset].left == 0 {
                    best[subset] = Best { cost, largest, left };
                }
            }
        }
        let mut pairs = Vec::new();
        list_pairs(&best, all, count, &mut pairs);
        pairs
    }

    fn greedy(&self) -> Vec<[usize; 2]> {
        let mut present: Vec<(usize, Letters)> = self.operands.iter().copied().enumerate().collect();
        let mut pairs = Vec::new();
        while present.len() > 1 {
            let mut chosen = (f64::INFINITY, f64::INFINITY, 0, 1, 0);
            for left in 0..present.len() {
                for right in left + 1..present.len() {
                    let product = self.product(&present, left, right);
                    let growth = self.size(product) - self.size(present[left].1) - self.size(present[right].1);
                    let cost = self.size(present[left].1 | present[right].1);
                    if (growth, cost) < (chosen.0, chosen.1) || pairs.is_empty() && (left, right) == (0, 1) {
                        chosen = (growth, cost, left, right, product);
                    }
                }
            }
            let (_, _, left, right, product) = chosen;
            pairs.push([present[left].0, present[right].0]);
            present.remove(right);
            present.remove(left);
            present.push((self.operands.len() + pairs.len() - 1, product));
        }
        pairs
    }

    /// The letters of the product of two of those present.
    fn product(&self, present: &[(usize, Letters)], left: usize, right: usize) -> Letters {
        let others = present.iter().enumerate().filter(|(at, _)| *at != left && *at != right);
        let needed = others.fold(self.output, |needed, (_, one)| needed | one.1);
        (present[left].1 | present[right].1) & needed
    }

    /// The pairs as steps with letters, and what they cost.
    fn write_out(&self, einsum: &Einsum, pairs: &[[usize; 2]]) -> Result<Order> {
        let mut lists: Vec<Vec<char>> = einsum.operands().to_vec();
        let mut present: Vec<(usize, Letters)> = self.operands.iter().copied().enumerate().collect();
        let mut order = Order { steps: Vec::new(), multiplications: 0.0, largest: 0.0 };
        for (number, &operands) in pairs.iter().enumerate() {
            let places = operands.map(|operand| present.iter().position(|one| one.0 == operand));
            let [Some(left), Some(right)] = places else {
                return Err(Error::internal(format!("the order of einsum \"{einsum}\" uses an operand twice")));
            };
            let product = self.product(&present, left, right);
            let alone = |at: usize| {
                let others = present.iter().enumerate().filter(|(other, _)| *other != at);
                present[at].1 & others.fold(self.output, |needed, (_, one)| needed | one.1)
            };
            order.multiplications += self.size(alone(left) | alone(right));
            order.largest = order.largest.max(self.size(product));
            let last = number + 1 == pairs.len();
            let letters = if last { einsum.output().to_vec() } else { self.result(&lists, operands, product) };
            let step = Einsum::new(operands.map(|operand| lists[operand].clone()).to_vec(), letters.clone())?;
            order.steps.push(Step { operands, einsum: step });
            present.retain(|one| !operands.contains(&one.0));
            present.push((self.operands.len() + number, product));
            lists.push(letters);
        }
        Ok(order)
    }

    /// The letters of a product in the order in which a GEMM writes them: batches, then those of the left operand alone, then
    /// those of the right.
    fn result(&self, lists: &[Vec<char>], operands: [usize; 2], product: Letters) -> Vec<char> {
        let [left, right] = operands.map(|operand| &lists[operand]);
        let batches = left.iter().filter(|letter| right.contains(letter));
        let of_left = left.iter().filter(|letter| !right.contains(letter));
        let of_right = right.iter().filter(|letter| !left.contains(letter));
        let mut result: Vec<char> = Vec::new();
        for &letter in batches.chain(of_left).chain(of_right) {
            let kept = self.letters.iter().position(|&one| one == letter).is_some_and(|at| product >> at & 1 == 1);
            if kept && !result.contains(&letter) {
                result.push(letter);
            }
        }
        result
    }
}

/// Lists the pairs of a subset, parts before wholes; returns the subset's number.
fn list_pairs(best: &[Best], subset: usize, count: usize, pairs: &mut Vec<[usize; 2]>) -> usize {
    if subset.count_ones() <= 1 {
        return subset.trailing_zeros() as usize;
    }
    let left = list_pairs(best, best[subset].left, count, pairs);
    let right = list_pairs(best, subset & !best[subset].left, count, pairs);
    pairs.push([left.min(right), left.max(right)]);
    count + pairs.len() - 1
}
