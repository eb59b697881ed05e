//! Which rank of a launched job this process is, before there is a session to ask.
//!
//! A mistake on the command line is made by every rank at once; only one should speak of it. The engine finds ranks by
//! itself when the session opens: this is only about who prints until then.

use std::env;

/// Variables in which launchers put a process's rank: Open MPI, PMIx, MPICH and Intel MPI, MVAPICH, Slurm.
const RANK_VARIABLES: [&str; 5] =
    ["OMPI_COMM_WORLD_RANK", "PMIX_RANK", "PMI_RANK", "MV2_COMM_WORLD_RANK", "SLURM_PROCID"];

/// The rank the launcher gave this process; 0 where there is no launcher.
pub(crate) fn rank() -> usize {
    rank_from(|name| env::var(name).ok())
}

fn rank_from(variable: impl Fn(&str) -> Option<String>) -> usize {
    RANK_VARIABLES.iter().find_map(|name| variable(name)?.parse().ok()).unwrap_or(0)
}

/// Whether a launcher started this process.
pub(crate) fn launched() -> bool {
    RANK_VARIABLES.iter().any(|name| env::var_os(name).is_some())
}

#[cfg(test)]
mod tests {
    use super::rank_from;

    #[test]
    fn rank_of_each_launcher() {
        assert_eq!(rank_from(|_| None), 0);
        assert_eq!(rank_from(|name| (name == "PMI_RANK").then(|| "3".into())), 3);
        assert_eq!(rank_from(|name| (name == "SLURM_PROCID").then(|| "2".into())), 2);
        assert_eq!(rank_from(|name| (name == "OMPI_COMM_WORLD_RANK").then(|| "not a number".into())), 0);
    }
}
