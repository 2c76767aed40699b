#include "plan/advice.h"

#include <algorithm>

namespace attune {
namespace {

using Facts = AdviceFacts;
using Choice = AdviceChoice;

bool Is(const Facts& f, std::initializer_list<const char*> goals) {
  return std::any_of(goals.begin(), goals.end(), [&](const char* goal) { return f.goal == goal; });
}

// Large changes need data: below this, full fine-tuning learns the rows rather than the skill.
constexpr int64_t kRowsForFull = 10000;

// A row that is there ten times teaches what it teaches once; updates and passes count all of them.
int64_t DifferentRows(const Facts& f) { return f.rows - f.duplicates; }

// Nats a token by which the rows are harder for the model than general text. The lines at which rules speak are drawn
// here: half a nat is a perplexity of 1.6 times.
constexpr double kFarFromGeneral = 0.5, kWellKnown = -1;
double Distance(const Facts& f) { return f.loss_on_rows - f.loss_on_general; }

// The least usual rank whose adapter can hold what the rows say, at about a bit a trained token and two a parameter.
int64_t RankFor(const Facts& f) {
  int64_t rank = 16;
  while (rank < 256 && 2 * rank * f.parameters_a_rank < f.trained_tokens) rank *= 2;
  return rank;
}

}  // namespace

const std::vector<std::string>& AdviceGoals() {
  static const std::vector<std::string> goals = {"style", "domain", "code", "knowledge", "behaviour", "base"};
  return goals;
}

const std::vector<AdviceRule>& AdviceRules() {
  static const std::vector<AdviceRule> rules = {
      {"prompt-first", "always",
       "score a prompted baseline first (attune prompt): it costs next to nothing, and what training adds is the "
       "difference to it",
       "the ladder that guides begin with: prompting is free", [](const Facts&, const Choice&) { return true; },
       nullptr},
      {"few-rows", "under 100 rows",
       "put the rows into the prompt as examples (attune prompt) instead of training on them",
       "Brown et al. 2020 (arXiv 2005.14165); Mosbach et al. 2023 (arXiv 2305.16938) on where training overtakes it",
       [](const Facts& f, const Choice&) { return DifferentRows(f) < 100 && f.goal != "base"; }, nullptr},
      {"enough-rows", "100 rows or more, or a base model to be made", "training is worth trying after the baseline",
       "as few-rows", [](const Facts& f, const Choice&) { return DifferentRows(f) >= 100 || f.goal == "base"; },
       [](const Facts&, Choice& c) { c.first = "train"; }},
      {"good-rows", "100 to 2,000 rows", "read them all: at this size their quality decides more than their number",
       "Zhou et al. 2023, LIMA (arXiv 2305.11206)",
       [](const Facts& f, const Choice&) { return DifferentRows(f) >= 100 && DifferentRows(f) <= 2000; }, nullptr},
      {"facts-change", "the goal is knowledge",
       "facts that change, or that must be right, belong in retrieval; training on facts that are new to the model "
       "teaches it slowly "
       "and makes it assert more that is false",
       "Ovadia et al. 2023 (arXiv 2312.05934); Gekhman et al. 2024 (arXiv 2405.05904)",
       [](const Facts& f, const Choice&) { return Is(f, {"knowledge"}); }, nullptr},
      {"far-from-general", "the model's loss on the rows is 0.5 nats a token or more above its loss on general text",
       "the rows are unlike what the model reads every day: training has much to teach here, and the prompted baseline "
       "says how much "
       "of it a prompt can give",
       "Gururangan et al. 2020, Don't Stop Pretraining (arXiv 2004.10964): what adapting gains grows with this "
       "distance; 0.5 is "
       "this program's line",
       [](const Facts& f, const Choice&) { return f.has_losses && Distance(f) >= kFarFromGeneral; }, nullptr},
      {"much-is-new",
       "the goal is knowledge, and the loss on the rows is 0.5 nats a token or more above that on general text",
       "much in the rows is new to the model: retrieval first, and few passes where they are trained on all the same",
       "Gekhman et al. 2024 (arXiv 2405.05904): new facts are learned last, and with them the habit of asserting what "
       "is false",
       [](const Facts& f, const Choice&) {
         return f.has_losses && Distance(f) >= kFarFromGeneral && Is(f, {"knowledge"});
       },
       nullptr},
      {"known-already", "the model's loss on the rows is a nat a token or more below its loss on general text",
       "the model expects such answers as it is: see first what a prompt gives (attune prompt), for training can add "
       "little",
       "as far-from-general; the line is this program's",
       [](const Facts& f, const Choice&) { return f.has_losses && Distance(f) <= kWellKnown; }, nullptr},
      {"lora-for-this", "the goal is style, domain or code", "LoRA: made for jargon, a voice, code for one's own stack",
       "Hu et al. 2021 (arXiv 2106.09685); Schulman et al. 2025, LoRA Without Regret",
       [](const Facts& f, const Choice&) {
         return Is(f, {"style", "domain", "code"});
       },
       [](const Facts&, Choice& c) { c.method = "lora"; }},
      {"full-for-large-change", "knowledge, behaviour or base, with 10,000 rows or more, where full fits",
       "full fine-tuning: large changes of capability, and knowledge by the token, outgrow an adapter",
       "Biderman et al. 2024, LoRA Learns Less and Forgets Less (arXiv 2405.09673)",
       [](const Facts& f, const Choice&) {
         return Is(f, {"knowledge", "behaviour", "base"}) && DifferentRows(f) >= kRowsForFull && f.full_fits;
       },
       [](const Facts&, Choice& c) { c.method = "full"; }},
      {"not-full-for-few", "knowledge, behaviour or base, with fewer than 10,000 rows",
       "LoRA all the same: on little data full fine-tuning learns the rows by heart and forgets more",
       "Biderman et al. 2024 (arXiv 2405.09673)",
       [](const Facts& f, const Choice&) {
         return Is(f, {"knowledge", "behaviour", "base"}) && DifferentRows(f) < kRowsForFull;
       },
       nullptr},
      {"full-does-not-fit", "knowledge, behaviour or base, where full does not fit",
       "LoRA at a high rank is what this device can do; full needs more memory", "the plan",
       [](const Facts& f, const Choice&) {
         return Is(f, {"knowledge", "behaviour", "base"}) && !f.full_fits;
       },
       nullptr},
      {"qlora-where-needed", "LoRA does not fit, but with the weights in 4 bits it does",
       "QLoRA: 4 bits cost time and a little quality, so take them only where bf16 does not fit",
       "Dettmers et al. 2023, QLoRA (arXiv 2305.14314)",
       [](const Facts& f, const Choice& c) { return c.method == "lora" && !f.lora_fits && f.qlora_fits; },
       [](const Facts&, Choice& c) { c.method = "qlora"; }},
      {"nothing-fits", "not even QLoRA fits", "take a smaller model, shorter rows or a device with more memory",
       "the plan", [](const Facts& f, const Choice&) { return !f.lora_fits && !f.qlora_fits; }, nullptr},
      {"all-linear", "LoRA or QLoRA",
       "adapt all linear layers: attention alone falls behind at the same number of parameters",
       "Dettmers et al. 2023 (arXiv 2305.14314); Schulman et al. 2025, LoRA Without Regret",
       [](const Facts&, const Choice& c) { return c.method != "full"; }, nullptr},
      {"rank-by-capacity", "LoRA or QLoRA",
       "a rank whose adapter can hold the rows: at about two bits a parameter and one a trained token, 16 at least",
       "Schulman et al. 2025, LoRA Without Regret; Allen-Zhu and Li 2024 (arXiv 2404.05405)",
       [](const Facts&, const Choice& c) { return c.method != "full"; },
       [](const Facts& f, Choice& c) { c.rank = RankFor(f); }},
      {"beyond-capacity", "LoRA or QLoRA, and rank 256 cannot hold the rows",
       "there is more to learn than an adapter holds: full, if it can be had",
       "Schulman et al. 2025, LoRA Without Regret",
       [](const Facts& f, const Choice& c) {
         return c.method != "full" && 2 * 256 * f.parameters_a_rank < f.trained_tokens;
       },
       nullptr},
      {"few-epochs", "2,000 rows or more",
       "two passes: rows seen often are learned by heart; up to four are almost as good as new ones",
       "Muennighoff et al. 2023 (arXiv 2305.16264)", [](const Facts& f, const Choice&) { return f.rows >= 2000; },
       [](const Facts&, Choice& c) { c.epochs = 2; }},
      {"one-epoch", "50,000 rows or more", "one pass", "Muennighoff et al. 2023 (arXiv 2305.16264)",
       [](const Facts& f, const Choice&) { return f.rows >= 50000; }, [](const Facts&, Choice& c) { c.epochs = 1; }},
      {"small-batches", "LoRA or QLoRA, fewer than 1,000 rows",
       "8 rows an update: LoRA bears large batches worse than full tuning, and few rows want many updates",
       "Schulman et al. 2025, LoRA Without Regret",
       [](const Facts& f, const Choice& c) { return c.method != "full" && f.rows < 1000; },
       [](const Facts&, Choice& c) { c.batch = 8; }},
      {"ten-times-the-rate", "LoRA or QLoRA", "a learning rate about ten times that of full tuning: 2e-4",
       "Schulman et al. 2025, LoRA Without Regret", [](const Facts&, const Choice& c) { return c.method != "full"; },
       [](const Facts&, Choice& c) { c.learning_rate = 2e-4; }},
      {"short-runs-faster", "LoRA or QLoRA, fewer than 100 updates",
       "half as much again: B starts at zero and takes some updates to count",
       "Schulman et al. 2025, LoRA Without Regret (15 times in short runs)",
       [](const Facts& f, const Choice& c) {
         return c.method != "full" && static_cast<double>(f.rows) * c.epochs / static_cast<double>(c.batch) < 100;
       },
       [](const Facts&, Choice& c) { c.learning_rate = 3e-4; }},
      {"full-rate", "full", "a tenth of LoRA's learning rate: 2e-5",
       "transformers and TRL default; Schulman et al. 2025",
       [](const Facts&, const Choice& c) { return c.method == "full"; },
       [](const Facts&, Choice& c) { c.learning_rate = 2e-5; }},
      {"sweep-the-rate", "always",
       "spend what is left on three learning rates (a third, this one, three times): worth more than any variant of "
       "LoRA",
       "Lee et al. 2026, Learning Rate Matters (arXiv 2602.04998)", [](const Facts&, const Choice&) { return true; },
       nullptr},
      {"duplicates", "more than one row in a hundred is there twice",
       "remove duplicates: they are learned by heart and hide in held-out rows", "Lee et al. 2021 (arXiv 2107.06499)",
       [](const Facts& f, const Choice&) { return f.duplicates * 100 > f.rows; }, nullptr},
      {"held-out", "no held-out rows",
       "keep a tenth of the rows apart and name them as data.eval: without them nobody knows what was learned",
       "common practice", [](const Facts& f, const Choice&) { return !f.has_held_out; }, nullptr},
      {"forgetting", "full", "measure general text before and after: full tuning forgets more than LoRA",
       "Biderman et al. 2024 (arXiv 2405.09673)", [](const Facts&, const Choice& c) { return c.method == "full"; },
       nullptr},
      {"over-budget", "the run takes longer than the hours that were given",
       "one pass instead of several; then a smaller model, or a faster device (attune plan --device)", "the plan",
       [](const Facts& f, const Choice& c) { return f.budget_hours > 0 && f.hours * c.epochs > f.budget_hours; },
       [](const Facts&, Choice& c) { c.epochs = 1; }},
      {"long-run", "more than a day", "compare devices first: attune plan --device NAME", "the plan",
       [](const Facts& f, const Choice& c) { return f.hours * c.epochs > 24; }, nullptr},
  };
  return rules;
}

AdviceResult FollowRules(const AdviceFacts& facts) {
  AdviceResult result;
  for (const AdviceRule& rule : AdviceRules()) {
    if (!rule.applies(facts, result.choice)) continue;
    if (rule.change != nullptr) rule.change(facts, result.choice);
    result.fired.push_back(&rule);
  }
  return result;
}

}  // namespace attune
