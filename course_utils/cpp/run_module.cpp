// Loads a TorchScript module, runs it on a saved tensor, and saves the output.
//
//   run_module model.pt input.pt output.pt
//
// input.pt is what torch.save(tensor, "input.pt") wrote; torch.load reads output.pt.
#include <ATen/Parallel.h>
#include <torch/script.h>

#include <exception>
#include <fstream>
#include <iostream>
#include <iterator>
#include <stdexcept>
#include <string>
#include <vector>

namespace {

std::vector<char> read_file(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) throw std::runtime_error("cannot read " + path);
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

void write_file(const std::string& path, const std::vector<char>& bytes) {
  std::ofstream file(path, std::ios::binary);
  file.write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
  if (!file.flush()) throw std::runtime_error("cannot write " + path);
}

void run(const std::string& model, const std::string& input, const std::string& output) {
  torch::NoGradGuard no_grad;
  at::set_num_threads(1);  // the bits of a sum depend on how it is split
  torch::jit::Module module = torch::jit::load(model, torch::kCPU);
  module.eval();
  const at::Tensor batch = torch::jit::pickle_load(read_file(input)).toTensor();
  const at::Tensor result = module.forward({batch}).toTensor();
  write_file(output, torch::jit::pickle_save(result));
  std::cout << "input " << batch.sizes() << ", output " << result.sizes() << "\n";
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 4) {
    std::cerr << "usage: run_module model.pt input.pt output.pt\n";
    return 2;
  }
  try {
    run(argv[1], argv[2], argv[3]);
    return 0;
  } catch (const c10::Error& error) {
    std::cerr << "run_module: " << error.what_without_backtrace() << "\n";
    return 1;
  } catch (const std::exception& error) {
    std::cerr << "run_module: " << error.what() << "\n";
    return 1;
  }
}
