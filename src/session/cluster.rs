//! The machine that a session plans for: the one it finds, with rates that were measured before, or one from a file.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use bireme_engine::control::Control;
use bireme_engine::error::{Error, Result};
use bireme_engine::machine::{Cluster, Machine, Rates, host_id, measure, measure_link};

/// The job's machine. Collective: rank 0's answer on every rank.
pub(super) fn find(control: &Control, machine: &Machine, here: usize, threads: usize) -> Result<Cluster> {
    let mut cluster = Cluster::on_one_node(machine, control.ranks(), threads);
    if control.ranks() == here {
        cluster.rates = known_rates(machine);
        return Ok(cluster);
    }
    let found = control.all_gather_values("find nodes", &(host_id(), machine.affinity.clone()))?;
    let (hosts, masks): (Vec<String>, Vec<Vec<usize>>) = found.into_iter().unzip();
    let nodes = nodes_of(&hosts);
    cluster.nodes = nodes.len();
    cluster.cores_per_node = nodes.values().map(|ranks| cores_of(ranks, &masks)).min().unwrap_or(0);
    // Plans take nodes to be alike; where they are not, the fullest one counts.
    let most = nodes.values().map(Vec::len).max().unwrap_or(1);
    cluster.ranks_per_node = control.ranks().div_ceil(cluster.nodes).max(if cluster.nodes == 1 { most } else { 1 });
    if cluster.ranks() != control.ranks() {
        // Ranks that do not fill their nodes alike are planned for as if each had a node of its own.
        (cluster.nodes, cluster.ranks_per_node) = (control.ranks(), 1);
        cluster.cores_per_node = 0;
    }
    let neighbour = (1..hosts.len()).find(|&rank| hosts[rank] == hosts[0]);
    let stranger = (1..hosts.len()).find(|&rank| hosts[rank] != hosts[0]);
    let mut rates = known_rates(machine);
    if let Some(rank) = neighbour {
        rates.on_node = measure_link(control, (0, rank))?.unwrap_or(rates.on_node);
    }
    if let Some(rank) = stranger {
        rates.between = measure_link(control, (0, rank))?.unwrap_or(rates.between);
    }
    cluster.rates = control.decide_on_root("rates", || Ok(rates))?;
    Ok(cluster)
}

/// The ranks of each host.
fn nodes_of(hosts: &[String]) -> BTreeMap<&str, Vec<usize>> {
    let mut nodes: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for (rank, host) in hosts.iter().enumerate() {
        nodes.entry(host).or_default().push(rank);
    }
    nodes
}

/// How many cores these ranks of one host may use together; a launcher may have given each its own.
fn cores_of(ranks: &[usize], masks: &[Vec<usize>]) -> usize {
    ranks.iter().flat_map(|&rank| &masks[rank]).collect::<BTreeSet<_>>().len()
}

/// What was measured on this machine before, or defaults: starting a session measures nothing but links.
fn known_rates(machine: &Machine) -> Rates {
    let read = || fs::read_to_string(cache_file(machine)?).ok();
    read().and_then(|text| toml::from_str(&text).ok()).unwrap_or_default()
}

/// Measures this machine, some tenths of a second, and keeps the result for later sessions.
///
/// # Errors
/// The result cannot be written.
pub(super) fn measure_and_keep(machine: &Machine) -> Result<Rates> {
    let rates = measure(machine.affinity.len());
    if let Some(file) = cache_file(machine) {
        let text = toml::to_string(&rates).map_err(|error| Error::internal(format!("writing rates: {error}")))?;
        let folder = file.parent().unwrap_or(Path::new("."));
        let written = fs::create_dir_all(folder).and_then(|()| fs::write(&file, text));
        written.map_err(|error| Error::from(error).context(format!("keeping rates in {}", file.display())))?;
    }
    Ok(rates)
}

/// Where the rates of this machine are kept: by host, processor and cores, for a container may come back with others.
fn cache_file(machine: &Machine) -> Option<PathBuf> {
    let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let folder = match set("BIREME_CACHE_DIR") {
        Some(folder) => folder,
        None => set("XDG_CACHE_HOME").or_else(|| Some(set("HOME")?.join(".cache")))?.join("bireme"),
    };
    let text = format!("{} {} {}", machine.host, machine.cpu_model, machine.cores_online);
    Some(folder.join(format!("machine-{:016x}.toml", bireme_engine::hash::hash_bytes(text.as_bytes()))))
}

/// A machine that a file describes.
///
/// # Errors
/// The file cannot be read, is no TOML, or describes no machine; the message says where.
pub(super) fn read(path: &Path) -> Result<Cluster> {
    let attempt = format!("reading a machine from {}", path.display());
    let text = fs::read_to_string(path).map_err(|error| Error::from(error).context(attempt.clone()))?;
    let cluster: Cluster = toml::from_str(&text).map_err(|error| Error::user(format!("{attempt}: {error}")))?;
    cluster.check().map_err(|error| error.context(attempt))?;
    Ok(cluster)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests stop at the first surprise")]
mod tests {
    use super::*;

    fn from_text(text: &str) -> Result<Cluster> {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), text).unwrap();
        read(file.path())
    }

    #[test]
    fn a_file_describes_a_machine() {
        let cluster = from_text(
            "nodes = 128\nranks_per_node = 8\nthreads = 16\n[rates.between]\nlatency = 2e-6\nbandwidth = 25e9\n",
        );
        let cluster = cluster.unwrap();
        assert_eq!((cluster.ranks(), cluster.rates.between.bandwidth), (1024, 25e9));
        assert_eq!(cluster.rates.on_node, Rates::default().on_node);
    }

    #[test]
    fn cores_of_neighbours_count_once() {
        let masks = vec![vec![0, 1], vec![0, 1], vec![2]];
        assert_eq!(cores_of(&[0, 1], &masks), 2);
        assert_eq!(cores_of(&[0, 1, 2], &masks), 3);
    }

    #[test]
    fn mistakes_are_named() {
        let wrong = |text: &str| from_text(text).unwrap_err().to_string();
        assert!(wrong("nodes = 1").contains("ranks_per_node"));
        assert!(wrong("nodes = 1\nranks_per_node = 1\nthreads = 1\nfast = true").contains("fast"));
        assert!(wrong("nodes = 0\nranks_per_node = 1\nthreads = 1").contains("nodes = 0"));
        assert!(read(Path::new("/no/such.toml")).unwrap_err().to_string().contains("/no/such.toml"));
    }

    #[test]
    fn rates_survive_being_written() {
        let rates = measure(1);
        let again: Rates = toml::from_str(&toml::to_string(&rates).unwrap()).unwrap();
        assert_eq!(again, rates);
    }
}
