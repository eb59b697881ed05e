//! What `SET bireme.…` says of plans.

use std::fmt;
use std::str::FromStr;

use bireme_engine::error::Error;
use bireme_operators::graph::Cutting;
use datafusion::common::config::{ConfigExtension, ConfigField, ConfigOptions, Visit};
use datafusion::common::{DataFusionError, Result, extensions_options};

use crate::place::{FixedMapper, JoinWay};

extensions_options! {
    /// How the plan at hand is made; set anew for every plan.
    pub struct PlanningOptions {
        /// Whether rules that only islands need are left out; the planner decides it for each plan.
        pub native: bool, default = false
        /// How the sides of joins between ranks meet, where that gives the right answer: `auto` (by cost), `in place`, `shuffle`,
        /// `broadcast`, `move build side` or `move probe side`
        pub joins: JoinWish, default = JoinWish::default()
        /// Over how many lanes rows come together that are grouped, at the most one a rank: `auto` (as costs least) or a number
        pub group_lanes: LanesWish, default = LanesWish::default()
        /// Whether a join with the sum of a product over its rows may run as a product of tensors
        pub contractions: bool, default = true
        /// How the edges of a graph are cut between ranks: `auto` (as costs least), `1d` (an edge is with its target) or `2d` (on a grid
        /// of ranks)
        pub graph_cut: CutWish, default = CutWish::default()
    }
}

impl ConfigExtension for PlanningOptions {
    const PREFIX: &'static str = "bireme";
}

/// What `SET bireme.joins` says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct JoinWish(Option<JoinWay>);

impl FromStr for JoinWish {
    type Err = DataFusionError;

    fn from_str(text: &str) -> Result<Self> {
        if text.trim().eq_ignore_ascii_case("auto") {
            return Ok(Self(None));
        }
        let way = text.parse().map_err(|error: Error| {
            DataFusionError::Configuration(format!("bireme.joins = '{text}': {}, and `auto`", error.message()))
        })?;
        Ok(Self(Some(way)))
    }
}

impl fmt::Display for JoinWish {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.map_or("auto", JoinWay::short))
    }
}

/// What `SET bireme.group_lanes` says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LanesWish(Option<usize>);

impl FromStr for LanesWish {
    type Err = DataFusionError;

    fn from_str(text: &str) -> Result<Self> {
        if text.trim().eq_ignore_ascii_case("auto") {
            return Ok(Self(None));
        }
        let lanes = text.trim().parse().ok().filter(|&lanes| lanes > 0).ok_or_else(|| {
            DataFusionError::Configuration(format!("bireme.group_lanes = '{text}': a number from 1 on, or `auto`"))
        })?;
        Ok(Self(Some(lanes)))
    }
}

impl fmt::Display for LanesWish {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(lanes) => write!(f, "{lanes}"),
            None => f.write_str("auto"),
        }
    }
}

/// What `SET bireme.graph_cut` says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CutWish(Cutting);

impl FromStr for CutWish {
    type Err = DataFusionError;

    fn from_str(text: &str) -> Result<Self> {
        let cutting = text.parse::<Cutting>();
        cutting.map(Self).map_err(|error| {
            DataFusionError::Configuration(format!("bireme.graph_cut = '{text}': {}", error.message()))
        })
    }
}

impl fmt::Display for CutWish {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

macro_rules! field_of_text {
    ($($wish:ty),*) => {
        $(impl ConfigField for $wish {
            fn visit<V: Visit>(&self, visit: &mut V, key: &str, description: &'static str) {
                visit.some(key, self, description);
            }

            fn set(&mut self, _: &str, value: &str) -> Result<()> {
                *self = value.parse()?;
                Ok(())
            }
        })*
    };
}

field_of_text!(JoinWish, LanesWish, CutWish);

/// What a user wants of plans, if they said so in SQL.
pub fn wished_mapper(config: &ConfigOptions) -> Option<FixedMapper> {
    let options = config.extensions.get::<PlanningOptions>()?;
    let (way, lanes) = (options.joins.0, options.group_lanes.0);
    (way.is_some() || lanes.is_some()).then(|| FixedMapper::new(way, lanes))
}

/// How the edges of graphs are cut between ranks.
pub fn wished_cut(config: &ConfigOptions) -> Cutting {
    config.extensions.get::<PlanningOptions>().map(|options| options.graph_cut.0).unwrap_or_default()
}

/// Whether joins may become contractions.
pub fn finds_contractions(config: &ConfigOptions) -> bool {
    config.extensions.get::<PlanningOptions>().is_none_or(|options| options.contractions)
}
