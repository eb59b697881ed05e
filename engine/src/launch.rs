//! How this process was started: alone, or as one of many ranks.
//!
//! Only the environment is read, so that the answer is there before MPI is, and also in a build without MPI: started
//! under `mpirun` it must refuse instead of running the whole job once per process.

use std::fmt;

use crate::error::{Error, Result};

/// Who started the processes of a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Launcher {
    /// Nobody: this is the only process.
    Alone,
    /// Open MPI's `mpirun`, or a launcher that speaks like it.
    OpenMpi,
    /// Hydra (`mpiexec` of MPICH, Intel MPI, MVAPICH).
    Hydra,
    /// `srun`.
    Slurm,
    /// Another launcher that speaks PMIx.
    Pmix,
}

impl fmt::Display for Launcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Launcher::Alone => "started alone",
            Launcher::OpenMpi => "Open MPI's mpirun",
            Launcher::Hydra => "mpiexec (MPICH family)",
            Launcher::Slurm => "srun",
            Launcher::Pmix => "a PMIx launcher",
        })
    }
}

/// What the launcher says about this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Launch {
    /// How many processes there are. PMIx does not always say; then it is the least that can be, and at least 2.
    pub ranks: usize,
    /// Which one this is.
    pub rank: usize,
    /// Which one on this host.
    pub local_rank: usize,
    /// Who says so.
    pub launcher: Launcher,
}

impl Launch {
    /// The only process.
    pub const ALONE: Launch = Launch { ranks: 1, rank: 0, local_rank: 0, launcher: Launcher::Alone };
}

/// Reads the environment of this process.
pub fn detect() -> Launch {
    detect_with(|name| std::env::var(name).ok())
}

/// Reads an environment: `lookup` gives the value of a variable. The first launcher that has left its marks is
/// believed.
pub fn detect_with(lookup: impl Fn(&str) -> Option<String>) -> Launch {
    let number = |name: &str| lookup(name).and_then(|text| text.trim().parse::<usize>().ok());
    let launch = |ranks: Option<usize>, rank: Option<usize>, local_rank: Option<usize>, launcher| match (ranks, rank) {
        (Some(ranks), Some(rank)) if rank < ranks => {
            Some(Launch { ranks, rank, local_rank: local_rank.unwrap_or(rank), launcher })
        }
        _ => None,
    };
    let open_mpi = || {
        let local_rank = number("OMPI_COMM_WORLD_LOCAL_RANK");
        launch(number("OMPI_COMM_WORLD_SIZE"), number("OMPI_COMM_WORLD_RANK"), local_rank, Launcher::OpenMpi)
    };
    let hydra = || {
        let local_rank = number("MPI_LOCALRANKID").or_else(|| number("PMI_LOCAL_RANK"));
        launch(number("PMI_SIZE"), number("PMI_RANK"), local_rank, Launcher::Hydra)
    };
    let slurm = || {
        let ranks = slurm_step_tasks(&number)?;
        launch(Some(ranks), number("SLURM_PROCID"), number("SLURM_LOCALID"), Launcher::Slurm)
    };
    let pmix = || {
        let rank = number("PMIX_RANK")?;
        let ranks = number("PMIX_SIZE").unwrap_or_else(|| (rank + 1).max(2));
        launch(Some(ranks), Some(rank), number("PMIX_LOCAL_RANK"), Launcher::Pmix)
    };
    open_mpi().or_else(hydra).or_else(slurm).or_else(pmix).unwrap_or(Launch::ALONE)
}

/// How many processes of the job run on this host, if the launcher says so.
pub fn local_size() -> Option<usize> {
    ["OMPI_COMM_WORLD_LOCAL_SIZE", "MPI_LOCALNRANKS", "PMI_LOCAL_SIZE", "PMIX_LOCAL_SIZE"]
        .iter()
        .find_map(|name| std::env::var(name).ok()?.trim().parse().ok())
}

/// The tasks of the running job step, if there is one with several. A batch script or an interactive shell also has
/// `SLURM_NTASKS`, but nobody has started tasks there: it has no step number, or one of the reserved ones.
fn slurm_step_tasks(number: &impl Fn(&str) -> Option<usize>) -> Option<usize> {
    const FIRST_RESERVED_STEP: usize = 0xffff_fff0;
    let step = number("SLURM_STEP_ID").or_else(|| number("SLURM_STEPID"))?;
    let tasks = number("SLURM_STEP_NUM_TASKS").or_else(|| number("SLURM_NTASKS"))?;
    (step < FIRST_RESERVED_STEP && tasks > 1).then_some(tasks)
}

/// Refuses to run as one of several ranks in a build without MPI.
///
/// # Errors
/// There are several ranks and the feature `mpi` is not compiled in.
pub fn refuse_without_mpi(launch: &Launch) -> Result<()> {
    if launch.ranks <= 1 || cfg!(feature = "mpi") {
        return Ok(());
    }
    let Launch { ranks, rank, launcher, .. } = launch;
    let count = if *launcher == Launcher::Pmix { "several".to_owned() } else { ranks.to_string() };
    Err(Error::user(format!(
        "this is rank {rank} of {count} processes ({launcher}), but this build has no MPI: each process would run the \
         whole job by itself. Rebuild with `--features mpi` (it needs an MPI installation and libclang), or start one \
         process with `--ranks N`"
    )))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests stop at the first surprise")]
mod tests {
    use super::*;

    fn check(environment: &[(&str, &str)], ranks: usize, rank: usize, local_rank: usize, launcher: Launcher) {
        let lookup =
            |name: &str| environment.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned());
        assert_eq!(detect_with(lookup), Launch { ranks, rank, local_rank, launcher }, "{environment:?}");
    }

    #[test]
    fn launchers_are_told_by_their_marks() {
        use Launcher::*;
        check(&[], 1, 0, 0, Alone);
        let open_mpi =
            [("OMPI_COMM_WORLD_SIZE", "4"), ("OMPI_COMM_WORLD_RANK", "3"), ("OMPI_COMM_WORLD_LOCAL_RANK", "1")];
        check(&open_mpi, 4, 3, 1, OpenMpi);
        check(&[("OMPI_COMM_WORLD_SIZE", "1"), ("OMPI_COMM_WORLD_RANK", "0")], 1, 0, 0, OpenMpi);
        check(&[("PMI_SIZE", "2"), ("PMI_RANK", "1"), ("MPI_LOCALRANKID", "0")], 2, 1, 0, Hydra);
        check(&[("PMIX_RANK", "0"), ("PMIX_NAMESPACE", "x")], 2, 0, 0, Pmix);
        check(&[("PMIX_RANK", "5")], 6, 5, 5, Pmix);
    }

    #[test]
    fn slurm_counts_only_inside_a_step() {
        use Launcher::*;
        let step = [("SLURM_NTASKS", "8"), ("SLURM_PROCID", "7"), ("SLURM_STEP_ID", "0"), ("SLURM_LOCALID", "3")];
        check(&step, 8, 7, 3, Slurm);
        check(&[("SLURM_NTASKS", "8"), ("SLURM_PROCID", "0")], 1, 0, 0, Alone);
        check(&[("SLURM_NTASKS", "1"), ("SLURM_PROCID", "0"), ("SLURM_STEP_ID", "0")], 1, 0, 0, Alone);
        // An interactive shell of an allocation for 8 tasks is a step of its own, with one task and a reserved number.
        check(&[("SLURM_NTASKS", "8"), ("SLURM_PROCID", "0"), ("SLURM_STEP_ID", "4294967290")], 1, 0, 0, Alone);
        let one_of_many =
            [("SLURM_NTASKS", "8"), ("SLURM_STEP_NUM_TASKS", "1"), ("SLURM_PROCID", "0"), ("SLURM_STEP_ID", "0")];
        check(&one_of_many, 1, 0, 0, Alone);
        // srun with PMIx: Slurm knows the number of tasks, PMIx does not.
        let both = [("SLURM_NTASKS", "8"), ("SLURM_PROCID", "2"), ("SLURM_STEP_ID", "1"), ("PMIX_RANK", "2")];
        check(&both, 8, 2, 2, Slurm);
    }

    #[test]
    fn nonsense_is_not_believed() {
        use Launcher::*;
        check(&[("OMPI_COMM_WORLD_SIZE", "two"), ("OMPI_COMM_WORLD_RANK", "0")], 1, 0, 0, Alone);
        check(&[("PMI_SIZE", "2"), ("PMI_RANK", "2")], 1, 0, 0, Alone);
        check(&[("PMI_RANK", "1")], 1, 0, 0, Alone);
    }

    #[test]
    fn several_ranks_need_mpi() {
        refuse_without_mpi(&Launch::ALONE).unwrap();
        let two = Launch { ranks: 2, rank: 1, local_rank: 1, launcher: Launcher::OpenMpi };
        match refuse_without_mpi(&two) {
            Err(error) if !cfg!(feature = "mpi") => assert!(error.message().contains("--features mpi"), "{error}"),
            outcome => assert_eq!(outcome, Ok(())),
        }
    }
}
