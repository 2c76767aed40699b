// The little of SQLite that the store needs: a connection, a prepared statement, both closed by their
// destructors. Every value is bound, none is pasted into SQL.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

struct sqlite3;
struct sqlite3_stmt;

namespace attune {

class Database {
 public:
  // Waits up to two seconds for another process's write. Errors: Error{kBadInput} naming the file.
  Database(const std::string& path, bool create);
  ~Database();
  Database(const Database&) = delete;
  Database& operator=(const Database&) = delete;

  // One or more statements without parameters. Errors: Error{kFailed} naming the file.
  void Execute(const char* sql);
  [[noreturn]] void Fail();

  sqlite3* handle() const { return handle_; }

 private:
  std::string path_;
  sqlite3* handle_ = nullptr;
};

// Parameters and columns are counted from 0. Errors of every member: Error{kFailed} naming the file.
class Statement {
 public:
  Statement(Database& database, const char* sql);
  ~Statement();
  Statement(const Statement&) = delete;
  Statement& operator=(const Statement&) = delete;

  Statement& Bind(int index, std::string_view text);
  Statement& Bind(int index, int64_t value);
  Statement& Bind(int index, double value);  // NaN is stored as NULL

  bool Step();  // true while there is a row
  void Run();   // for statements without rows: steps once and makes it ready to be bound again

  bool IsNull(int column) const;
  std::string Text(int column) const;
  int64_t Integer(int column) const;
  double Double(int column) const;  // NaN for NULL

 private:
  void Check(int code);

  Database& database_;
  sqlite3_stmt* statement_ = nullptr;
};

// BEGIN IMMEDIATE ... COMMIT; rolled back when destroyed without Commit().
class Transaction {
 public:
  explicit Transaction(Database& database);
  ~Transaction();
  Transaction(const Transaction&) = delete;
  Transaction& operator=(const Transaction&) = delete;
  void Commit();

 private:
  Database& database_;
  bool done_ = false;
};

}  // namespace attune
