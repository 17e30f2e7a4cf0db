// What the programs here share: tensors in files, and a main that reports errors.
#pragma once

#include <ATen/Parallel.h>
#include <torch/script.h>

#include <exception>
#include <fstream>
#include <iostream>
#include <iterator>
#include <stdexcept>
#include <string>
#include <vector>

// Reads what torch.save(tensor, path) wrote.
inline at::Tensor read_tensor(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) throw std::runtime_error("cannot read " + path);
  const std::vector<char> bytes{std::istreambuf_iterator<char>(file),
                                std::istreambuf_iterator<char>()};
  return torch::jit::pickle_load(bytes).toTensor();
}

// Writes a tensor for torch.load(path).
inline void write_tensor(const std::string& path, const at::Tensor& tensor) {
  const std::vector<char> bytes = torch::jit::pickle_save(tensor);
  std::ofstream file(path, std::ios::binary);
  file.write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
  if (!file.flush()) throw std::runtime_error("cannot write " + path);
}

using Run = at::Tensor (*)(const std::string& model, const at::Tensor& batch);

// Runs `program model input.pt output.pt`; the exit status says how it went.
inline int command(const std::string& program, int argc, char** argv, Run run) {
  if (argc != 4) {
    std::cerr << "usage: " << program << " model input.pt output.pt\n";
    return 2;
  }
  try {
    at::set_num_threads(1);  // the bits of a sum depend on how it is split
    const at::Tensor batch = read_tensor(argv[2]);
    const at::Tensor result = run(argv[1], batch);
    write_tensor(argv[3], result);
    std::cout << "input " << batch.sizes() << ", output " << result.sizes() << "\n";
    return 0;
  } catch (const c10::Error& error) {
    std::cerr << program << ": " << error.what_without_backtrace() << "\n";
  } catch (const std::exception& error) {
    std::cerr << program << ": " << error.what() << "\n";
  }
  return 1;
}
