// What the commands of attune data share.
#pragma once

#include <CLI/CLI.hpp>
#include <string>
#include <vector>

#include "base/error.h"
#include "cli/commands.h"
#include "curate/row_source.h"

namespace attune {

// What every stage has: where rows come from.
struct DataFlags {
  std::vector<std::string> input;
  std::vector<std::string> columns;  // "prompt=question"
  bool strict = false;
  std::string shard;  // "2/4"; empty: all

  Shard Part() const { return shard.empty() ? Shard() : Shard::Named(shard); }
  ColumnMap Names() const {
    ColumnMap names;
    for (const std::string& pair : columns) {
      const size_t sign = pair.find('=');
      if (sign == 0 || sign == pair.npos || sign + 1 == pair.size())
        BadInput("--columns {}: write NAME=COLUMN, as in prompt=question", pair);
      names.emplace_back(pair.substr(0, sign), pair.substr(sign + 1));
    }
    return names;
  }
};

void AddInput(CLI::App* command, DataFlags* flags, CommandContext& context);

// --shard, for commands whose parts make a whole.
void AddShard(CLI::App* command, DataFlags* flags);

// clean, dedupe, split, decontaminate, select.
void AddDataStages(CLI::App* data, CommandContext& context);

}  // namespace attune
