//! Shares the files of a table among lanes.
//!
//! The files lie end to end on a line, as long as they have bytes; the line is cut into equal parts, one a lane. A
//! large file may be cut where the parts meet; a small one goes whole to the lane that holds its middle.
//!
//! ```text
//! files  |aaaaaaaaaaaaaaaaaaaaaaaaa|bb|cccc|ddd|        3 lanes
//! cuts              |            |
//! lanes  [aaaaaaaaa] [aaaaaaaaaaaa] [aaa bb cccc ddd]
//! ```
//!
//! Files that lie on one rank's own disk are shared among lanes of that rank alone.

use bireme_engine::stage::Pin;
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::physical_plan::FileGroup;

use crate::snapshot::FileTag;

/// How files may be cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cut {
    /// Each file is read by one lane.
    Never,
    /// Files of at least this many bytes are read by several lanes, a byte range each.
    From(u64),
}

/// At most `lanes` groups (at least one for each rank that has files of its own), none of them empty, that together
/// hold every byte of every file once, in order. The same files give the same groups on every rank.
pub(crate) fn file_groups(files: Vec<PartitionedFile>, lanes: usize, cut: Cut) -> Vec<FileGroup> {
    let mut homes: Vec<(Option<u32>, Vec<PartitionedFile>)> = Vec::new();
    for file in files {
        let pin = pin_of(&file);
        match homes.iter_mut().find(|(home, _)| *home == pin) {
            Some((_, same)) => same.push(file),
            None => homes.push((pin, vec![file])),
        }
    }
    homes.sort_by_key(|(home, _)| *home);
    let share = (lanes / homes.len().max(1)).max(1);
    homes.into_iter().flat_map(|(_, files)| share_out(files, share, cut)).map(FileGroup::new).collect()
}

/// Where the lane of each group may run.
pub fn pins_of(groups: &[FileGroup]) -> Vec<Pin> {
    let pin = |group: &FileGroup| match group.files().first().and_then(pin_of) {
        Some(rank) => Pin::Rank(rank as usize),
        None => Pin::Free,
    };
    groups.iter().map(pin).collect()
}

fn pin_of(file: &PartitionedFile) -> Option<u32> {
    file.extension::<FileTag>().and_then(|tag| tag.pin)
}

fn share_out(files: Vec<PartitionedFile>, lanes: usize, cut: Cut) -> Vec<Vec<PartitionedFile>> {
    // A file without a byte still has a place on the line.
    let length = |file: &PartitionedFile| u128::from(file.object_meta.size.max(1));
    let total: u128 = files.iter().map(length).sum();
    let count = lanes as u128;
    let lane_of = |place: u128| usize::try_from((place * count / total).min(count - 1)).unwrap_or(0);
    let start_of = |lane: usize| (lane as u128 * total).div_ceil(count);

    let mut groups: Vec<Vec<PartitionedFile>> = (0..lanes).map(|_| Vec::new()).collect();
    let mut start = 0;
    for file in files {
        let end = start + length(&file);
        let (first, last) = (lane_of(start), lane_of(end - 1));
        let may_cut = matches!(cut, Cut::From(least) if file.object_meta.size >= least);
        if first == last || !may_cut {
            groups[lane_of((start + end) / 2)].push(file);
        } else {
            for (lane, group) in groups.iter_mut().enumerate().take(last + 1).skip(first) {
                let from = start_of(lane).max(start) - start;
                let to = start_of(lane + 1).min(end) - start;
                let offset = |place: u128| i64::try_from(place).unwrap_or(i64::MAX);
                if from < to {
                    group.push(file.clone().with_range(offset(from), offset(to)));
                }
            }
        }
        start = end;
    }
    groups.retain(|group| !group.is_empty());
    groups
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(name: usize, size: u64, pin: Option<u32>) -> PartitionedFile {
        PartitionedFile::new(format!("f{name:03}"), size)
            .with_extension(FileTag { shown: format!("f{name}").into(), pin })
    }

    fn pieces(groups: &[FileGroup]) -> Vec<Vec<(String, u64, u64)>> {
        let piece = |file: &PartitionedFile| (file.path().to_string(), file.range().0, file.range().1);
        groups.iter().map(|group| group.files().iter().map(piece).collect()).collect()
    }

    /// Every byte once, in order, no empty group, no more groups than lanes, small files whole.
    fn check(sizes: &[u64], lanes: usize, cut: Cut) {
        let files: Vec<_> = sizes.iter().enumerate().map(|(name, &size)| file(name, size, None)).collect();
        let groups = pieces(&file_groups(files.clone(), lanes, cut));
        assert_eq!(groups, pieces(&file_groups(files, lanes, cut)), "not deterministic");
        assert!(groups.len() <= lanes && groups.iter().all(|group| !group.is_empty()), "{groups:?}");
        let mut all: Vec<_> = groups.concat();
        let before = all.clone();
        all.sort();
        assert_eq!(all, before, "not contiguous");
        for (name, &size) in sizes.iter().enumerate() {
            let parts: Vec<_> = all.iter().filter(|(path, ..)| *path == format!("f{name:03}")).collect();
            let mut at = 0;
            for (_, from, to) in &parts {
                assert_eq!(*from, at);
                assert!(to > from || size == 0, "empty piece");
                at = *to;
            }
            assert_eq!(at, size);
            assert!(parts.len() == 1 || matches!(cut, Cut::From(least) if size >= least));
        }
    }

    #[test]
    fn every_byte_once() {
        let mut seed = 7_u64;
        let mut random = |limit: u64| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (seed >> 33) % limit
        };
        for _ in 0..300 {
            let sizes: Vec<u64> = (0..=random(12)).map(|_| random(3) * random(50)).collect();
            let lanes = random(9) as usize + 1;
            for cut in [Cut::Never, Cut::From(10), Cut::From(1)] {
                check(&sizes, lanes, cut);
            }
        }
    }

    #[test]
    fn equal_files_give_equal_lanes() {
        let files = |count: usize| (0..count).map(|name| file(name, 1000, None)).collect::<Vec<_>>();
        assert_eq!(file_groups(files(8), 4, Cut::Never).iter().map(FileGroup::len).collect::<Vec<_>>(), [2, 2, 2, 2]);
        assert_eq!(file_groups(files(3), 3, Cut::Never).len(), 3);
        let cut = file_groups(files(1), 4, Cut::From(500));
        assert_eq!(pieces(&cut).concat().iter().map(|(_, from, to)| to - from).collect::<Vec<_>>(), [250; 4]);
    }

    #[test]
    fn groups_do_not_mix_ranks() {
        let files = vec![file(0, 10, Some(1)), file(1, 10, None), file(2, 10, Some(0)), file(3, 10, Some(1))];
        let groups = file_groups(files, 6, Cut::Never);
        let pieces = pieces(&groups);
        let names: Vec<Vec<&str>> =
            pieces.iter().map(|group| group.iter().map(|(name, ..)| name.as_str()).collect()).collect();
        assert_eq!(names, [vec!["f001"], vec!["f002"], vec!["f000"], vec!["f003"]]);
        assert_eq!(pins_of(&groups), [Pin::Free, Pin::Rank(0), Pin::Rank(1), Pin::Rank(1)]);
    }
}
