// A plan as one JSON document.
#include "app/plan_job.h"

namespace attune {
namespace {

using Json = nlohmann::ordered_json;

Json MethodJson(const MethodPlan& m, bool has_time) {
  Json memory = Json::array(), steps = Json::array();
  for (const MemoryRow& row : m.memory) memory.push_back({{"part", row.name}, {"bytes", row.bytes}});
  for (const FitStep& s : m.to_fit) {
    steps.push_back({{"setting", s.setting}, {"cost", s.cost}, {"bytes", s.bytes}, {"fits", s.fits}});
  }
  Json json = {{"method", m.method}, {"planned_bytes", m.bytes}, {"fits", m.fits}, {"memory", memory}};
  if (m.method == "prompt") return json;
  json["trainable_parameters"] = m.trainable_parameters;
  json["rows_at_once"] = m.rows_at_once;
  json["largest_rows_at_once"] = m.largest_rows;
  json["largest_context"] = m.largest_context;
  json["to_fit"] = steps;
  if (m.stack_bytes) json["stack_bytes"] = *m.stack_bytes;
  if (!has_time) return json;
  json["seconds"] = m.seconds;
  json["seconds_low"] = m.seconds_low;
  json["seconds_high"] = m.seconds_high;
  json["seconds_by_kind"] = m.seconds_by_kind;
  json["kilowatt_hours"] = m.kilowatt_hours;
  json["electricity_cost"] = m.electricity_cost;
  json["rent"] = m.rent ? Json(*m.rent) : Json(nullptr);
  return json;
}

}  // namespace

Json ToJson(const PlanReport& r) {
  Json methods = Json::array();
  for (const MethodPlan& m : r.methods) methods.push_back(MethodJson(m, r.tokens > 0));
  return {{"model",
           {{"name", r.model.name},
            {"source", r.model.source},
            {"parameters", r.model.parameters()},
            {"trainable_here", r.model.lacking.empty()},
            {"lacking", r.model.lacking},
            {"recalled", r.model.recalled}}},
          {"device",
           {{"name", r.device.name},
            {"count", r.devices},
            {"is_this_machine", r.device.is_this_machine},
            {"memory_bytes", r.device.memory_bytes},
            {"compute", r.device.compute == DType::kBF16 ? "bf16" : "f32"},
            {"matmul_flops", r.device.matmul_flops},
            {"fraction", r.device.fraction},
            {"speed_flops", r.device.speed_flops},
            {"error_factor", r.device.error_factor},
            {"rate_source", r.device.fraction_source},
            {"recalled", r.device.recalled}}},
          {"prices",
           {{"date", r.prices.date},
            {"source", r.prices.source},
            {"currency", r.prices.currency},
            {"electricity_per_kwh", r.prices.electricity_per_kwh}}},
          {"method", r.method},
          {"is_recommended", r.is_recommended},
          {"planned_bytes", r.Chosen().bytes},
          {"fits", r.Chosen().fits},
          {"max_length", r.max_length},
          {"tokens", r.tokens},
          {"epochs", r.epochs},
          {"steps", r.steps},
          {"stack", r.stack},
          {"methods", methods},
          {"notes", r.notes}};
}

Json CatalogueJson() {
  Json models = Json::array(), devices = Json::array();
  for (const CatalogueModel& m : ModelCatalogue()) {
    models.push_back({{"name", m.name},
                      {"model_type", m.spec.model_type},
                      {"parameters", m.parameters},
                      {"licence", m.licence},
                      {"verified", m.verified},
                      {"source", m.source},
                      {"recalled", m.recalled}});
  }
  for (const PlanDevice& d : DeviceCatalogue()) {
    devices.push_back({{"name", d.name},
                       {"vendor", d.vendor},
                       {"memory_bytes", d.memory_bytes},
                       {"bandwidth", d.bandwidth},
                       {"matmul_flops", d.matmul_flops},
                       {"watts", d.watts},
                       {"notes", d.notes},
                       {"recalled", d.recalled}});
  }
  return {{"models", models}, {"devices", devices}};
}

}  // namespace attune
