// Trained tensors in safetensors files: in the layout of the files, a piece at a time, so that saving and loading need
// no second copy of what is trained.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "formats/safetensors.h"
#include "models/trainable.h"

namespace attune {

// The shape that files have it in.
std::vector<int64_t> FileShape(const TrainableTensor& tensor);

// One tensor's values in the layout of the files, and back.
std::vector<float> DownloadTrained(Device& device, const Matrix& vector, const TrainableTensor& tensor);
void UploadTrained(Device& device, const Matrix& vector, const TrainableTensor& tensor, std::vector<float> values);

// Writes the tensors as f32. `vector` holds the values: the trained vector.
void WriteTrainedFile(Device& device, const Matrix& vector, const std::vector<TrainableTensor>& tensors,
                      const std::string& path);

// Writes a matrix of device memory as the next tensor of a writer, a piece at a time.
void WriteMatrix(Device& device, const Matrix& matrix, const std::string& name, SafetensorsWriter& writer);

// What to make of tensors that are not trained: in an adapter they are of another base; a model holds frozen weights
// too.
enum class OtherTensors { kRefuse, kIgnore };

// The file of trained tensors, with every one of them checked: Error{kBadInput} naming the first that is missing, left
// over, of another shape or type.
SafetensorsFile OpenTrainedFile(const std::vector<TrainableTensor>& tensors, const std::string& path,
                                OtherTensors others = OtherTensors::kRefuse);

// Reads checked tensors into the vector, one at a time, or all of them to the host.
void LoadTrainedFile(Device& device, const Matrix& vector, const std::vector<TrainableTensor>& tensors,
                     const SafetensorsFile& file);
std::vector<std::vector<float>> ReadTrainedValues(const std::vector<TrainableTensor>& tensors,
                                                  const SafetensorsFile& file);

// Puts such values into the trained vector.
void LoadTrained(Device& device, const TrainableVectors& vectors, const std::vector<TrainableTensor>& tensors,
                 const std::vector<std::vector<float>>& values);

}  // namespace attune
