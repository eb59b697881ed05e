//! The commands of `bireme`, one a file.

mod demo;
mod explain;
mod generate;
mod machine;
mod schema;
mod sql;

use bireme::prelude::Result;
use clap::{Parser, Subcommand};

const EXAMPLES: &str = "\
Examples:
  bireme demo                                        # a small TPC-H, five queries, one explained
  bireme generate tpch --scale 1 --out tpch          # eight Parquet files
  bireme sql --tables tpch -c 'SELECT count(*) FROM lineitem'
  bireme sql --table t=data.csv                      # a shell with the table t
  bireme explain --tables tpch -f query.sql
  mpirun -n 8 --bind-to none bireme sql --tables tpch -f query.sql

Exit codes: 0 good, 1 a mistake in what was asked, 2 everything else.";

/// What was typed.
#[derive(Debug, Parser)]
#[command(
    name = "bireme",
    version,
    about = "SQL and DataFrames over files, on a laptop and under mpirun",
    after_help = EXAMPLES,
    arg_required_else_help = true,
    max_term_width = 100
)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Which command.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run SQL from a text, a file, standard input or an interactive shell
    Sql(sql::Arguments),
    /// Show how a query would run (or, with --analyze, how it ran)
    Explain(explain::Arguments),
    /// Show the columns of a file, a folder or a glob
    Schema(schema::Arguments),
    /// Make test data
    Generate(generate::Arguments),
    /// Show what this machine is: ranks, cores, caches, memory, GPUs
    Machine(machine::Arguments),
    /// Generate a small TPC-H, run five of its queries and explain one
    Demo(demo::Arguments),
}

impl Command {
    /// Runs it.
    pub(crate) fn run(self) -> Result<()> {
        match self {
            Command::Sql(arguments) => sql::run(arguments),
            Command::Explain(arguments) => explain::run(arguments),
            Command::Schema(arguments) => schema::run(arguments),
            Command::Generate(arguments) => generate::run(arguments),
            Command::Machine(arguments) => machine::run(arguments),
            Command::Demo(arguments) => demo::run(arguments),
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn arguments_are_sound() {
        super::Cli::command().debug_assert();
    }

    #[test]
    fn every_command_has_examples() {
        fn check(command: &clap::Command) {
            let shown = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            assert!(shown.contains("Example"), "`{}` has no examples in its help", command.get_name());
            command.get_subcommands().for_each(check);
        }
        check(&super::Cli::command());
    }
}
