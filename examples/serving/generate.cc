// Draws new digits from an exported model by TensorFlow's C++ API, two of one seed each.
//
//     TF=$(python -c "import os, tensorflow as tf; print(os.path.dirname(tf.__file__))")
//     g++ -std=c++17 -w examples/serving/generate.cc -o generate -I"$TF/include" -L"$TF" \
//         -Wl,-rpath,"$TF" -Wl,--no-as-needed -l:libtensorflow_cc.so.2 \
//         -l:libtensorflow_framework.so.2
//     ./generate saved_models/digits_small/1 7

#include <cstdio>
#include <cstdlib>
#include <vector>

#include "tensorflow/cc/saved_model/loader.h"
#include "tensorflow/core/framework/tensor.h"

int main(int argc, char** argv) {
  if (argc != 3) {
    std::fprintf(stderr, "usage: %s FOLDER SEED\n", argv[0]);
    return 2;
  }
  tensorflow::SavedModelBundle model;
  auto status = tensorflow::LoadSavedModel({}, {}, argv[1], {"serve"}, &model);
  if (!status.ok()) {
    std::fprintf(stderr, "load: %s\n", std::string(status.message()).c_str());
    return 1;
  }
  // A seed for each row: one draw for each.
  tensorflow::Tensor seed(tensorflow::DT_INT32, {2, 2}), count(tensorflow::DT_INT32, {});
  for (int row = 0; row < 2; row++) {
    seed.matrix<int>()(row, 0) = std::atoi(argv[2]);
    seed.matrix<int>()(row, 1) = row;
  }
  count.scalar<int>()() = 1;

  std::vector<tensorflow::Tensor> drawn;
  status = model.session->Run({{"generate_num_samples:0", count}, {"generate_seed:0", seed}},
                              {"answers/generate/x:0"}, {}, &drawn);
  if (!status.ok()) {
    std::fprintf(stderr, "generate: %s\n", std::string(status.message()).c_str());
    return 1;
  }
  const auto x = drawn[0].tensor<float, 4>();
  for (int row = 0; row < x.dimension(1); row++) {
    for (int digit = 0; digit < x.dimension(0); digit++) {
      for (int column = 0; column < x.dimension(2); column++)
        std::printf("%s", x(digit, row, column, 0) > 0.5f ? "@@" : "  ");
      std::printf(digit == 0 ? " | " : "\n");
    }
  }
  return 0;
}
