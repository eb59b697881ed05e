//! Over how many lanes rows come together by their keys.
//!
//! ```text
//!   one lane a rank     each rank finishes its share of the groups; their rows have to be gathered later
//!   one lane            one rank finishes all of them, and whoever gathers finds them there: a stage less
//! ```
//!
//! Most of what is grouped has few groups, and then the hop that one lane saves is worth more than the work that many share. A vote
//! of the ranks, as joins have it ([`super::join`]), could not pay here: it has as many messages as the exchange itself.

use bireme_engine::machine::Cluster;

use super::cost::{Costs, missed, shuffled};
use super::join::JoinSide;
use super::work::{Kind, Work};

/// What a mapper is asked about rows that have to come together by keys.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct LanesInput<'a> {
    /// Which such place of the plan it is.
    pub number: usize,
    /// The machine that is planned for.
    pub cluster: &'a Cluster,
    /// The rows that are sent: partial groups where groups are begun before.
    pub rows: JoinSide,
    /// Whether the plan's rows come to one place in the end. Else they stay where they are, as those of a table that is kept do.
    pub gathered: bool,
}

impl<'a> LanesInput<'a> {
    /// A question.
    pub fn new(number: usize, cluster: &'a Cluster, rows: JoinSide, gathered: bool) -> Self {
        Self { number, cluster, rows, gathered }
    }
}

/// A mapper's answer.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct LanesDecision {
    /// How many lanes; at least one, at most one a rank.
    pub lanes: usize,
    /// Seconds that some numbers of lanes are expected to take; empty if nothing is known of the rows.
    pub costs: Vec<(usize, f64)>,
}

impl LanesDecision {
    /// A number of lanes, with what is known of it and others.
    pub fn new(lanes: usize, costs: Vec<(usize, f64)>) -> Self {
        Self { lanes, costs }
    }
}

/// The number of lanes that costs least; one a rank if nothing is known of the rows, or if they stay where they are: then later
/// queries have them on all ranks.
pub fn cheapest_lanes(input: &LanesInput<'_>) -> LanesDecision {
    let costs = lanes_costs(input);
    let best = costs.iter().copied().filter(|_| input.gathered).min_by(|(_, a), (_, b)| a.total_cmp(b));
    LanesDecision::new(best.map_or(input.cluster.ranks(), |(lanes, _)| lanes), costs)
}

/// What one lane costs, one a rank, and the powers of two between them; nothing if nothing is known of the rows.
pub fn lanes_costs(input: &LanesInput<'_>) -> Vec<(usize, f64)> {
    let Some(rows) = input.rows.rows else { return Vec::new() };
    let ranks = input.cluster.ranks();
    let powers = std::iter::successors(Some(1_usize), |lanes| lanes.checked_mul(2)).take_while(|&lanes| lanes < ranks);
    powers.chain([ranks]).map(|lanes| (lanes, seconds(input, rows, lanes))).collect()
}

/// What the busiest rank does with its rows until they are where they can be gathered.
fn seconds(input: &LanesInput<'_>, rows: f64, lanes: usize) -> f64 {
    let costs = Costs::of(input.cluster);
    let bytes = input.rows.row_bytes;
    let taken = rows / lanes as f64;
    let busiest = costs.on_a_rank(rows, input.rows.lanes).max(taken);
    let work = shuffled(busiest, bytes) + Work::of(Kind::Group, taken) + missed(taken, taken, bytes);
    // Each lane is a message of every rank, and another one where lanes are gathered.
    let messages = costs.messages(lanes as f64);
    let hop =
        if lanes == 1 || !input.gathered { 0.0 } else { costs.work(Work::of(Kind::Stage, costs.cores())) + messages };
    costs.work(work) + costs.send(busiest * bytes) + messages + hop
}

#[cfg(test)]
mod tests {
    use bireme_engine::machine::Machine;

    use super::*;

    fn decide(rows: f64, ranks: usize) -> usize {
        decide_for(true, rows, ranks)
    }

    fn decide_for(gathered: bool, rows: f64, ranks: usize) -> usize {
        let cluster = Cluster::on_one_node(&Machine::probe(1, 0), ranks, 1);
        let decision = cheapest_lanes(&LanesInput::new(0, &cluster, JoinSide::new(Some(rows), 16.0, ranks), gathered));
        assert_eq!(decision.costs.last().map(|(lanes, _)| *lanes), Some(ranks));
        decision.lanes
    }

    #[test]
    fn few_rows_come_to_one_lane_and_many_to_all() {
        for ranks in [2, 3, 64] {
            assert_eq!(decide(ranks as f64, ranks), 1);
            assert_eq!(decide(1e8, ranks), ranks);
        }
    }

    #[test]
    fn more_rows_never_want_fewer_lanes() {
        let lanes = (0..40).map(|power| decide(2_f64.powi(power), 48)).collect::<Vec<_>>();
        assert!(lanes.is_sorted(), "{lanes:?}");
        assert!(lanes.iter().any(|&lanes| lanes > 1 && lanes < 48), "{lanes:?}");
    }

    #[test]
    fn rows_that_are_kept_are_everybodys() {
        assert_eq!(decide_for(false, 100.0, 4), 4);
    }

    #[test]
    fn rows_of_which_nothing_is_known_have_a_lane_a_rank() {
        let cluster = Cluster::on_one_node(&Machine::probe(1, 0), 5, 1);
        let unknown = LanesInput::new(0, &cluster, JoinSide::new(None, 16.0, 5), true);
        assert_eq!(cheapest_lanes(&unknown), LanesDecision::new(5, vec![]));
    }
}
