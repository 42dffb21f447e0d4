/* Decodes one latent of an exported digits model by TensorFlow's C API, and draws it.

   Against the wheel that `pip install tensorflow` puts there:

       TF=$(python -c "import os, tensorflow as tf; print(os.path.dirname(tf.__file__))")
       gcc examples/serving/decode.c -o decode -I"$TF/include" -L"$TF" -Wl,-rpath,"$TF" \
           -Wl,--no-as-needed -l:libtensorflow_cc.so.2 -l:libtensorflow_framework.so.2
       ./decode saved_models/digits_small/1 0.5 -1.0

   Numbers after the folder are the first elements of z; all others are zero. Tensors have names
   that stay when signatures are added: inputs `decode_z`, outputs `answers/decode/x_mean`. */

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tensorflow/c/c_api.h"

static void check(const TF_Status *status, const char *what) {
  if (TF_GetCode(status) != TF_OK) {
    fprintf(stderr, "%s: %s\n", what, TF_Message(status));
    exit(1);
  }
}

static TF_Output tensor(TF_Graph *graph, const char *name) {
  TF_Output found = {TF_GraphOperationByName(graph, name), 0};
  if (found.oper == NULL) {
    fprintf(stderr, "The model has no tensor `%s`: export it anew.\n", name);
    exit(1);
  }
  return found;
}

int main(int argc, char **argv) {
  if (argc < 2) {
    fprintf(stderr, "usage: %s FOLDER [NUMBER...]\n", argv[0]);
    return 2;
  }
  TF_Status *status = TF_NewStatus();
  TF_Graph *graph = TF_NewGraph();
  TF_SessionOptions *options = TF_NewSessionOptions();
  const char *tags[] = {"serve"};
  TF_Session *session =
      TF_LoadSessionFromSavedModel(options, NULL, argv[1], tags, 1, graph, NULL, status);
  check(status, "load");

  TF_Output z = tensor(graph, "decode_z"), x = tensor(graph, "answers/decode/x_mean");
  int64_t shape[2] = {1, 0};
  TF_GraphGetTensorShape(graph, z, shape, 2, status);
  check(status, "shape of z");
  shape[0] = 1;
  size_t bytes = (size_t)shape[1] * sizeof(float);
  TF_Tensor *input = TF_AllocateTensor(TF_FLOAT, shape, 2, bytes);
  float *numbers = TF_TensorData(input);
  memset(numbers, 0, bytes);
  for (int k = 0; k < argc - 2 && k < shape[1]; k++) numbers[k] = strtof(argv[k + 2], NULL);

  TF_Tensor *output = NULL;
  TF_SessionRun(session, NULL, &z, &input, 1, &x, &output, 1, NULL, 0, NULL, status);
  check(status, "decode");

  const float *mean = TF_TensorData(output);
  int64_t rows = TF_Dim(output, 1), columns = TF_Dim(output, 2);
  for (int64_t row = 0; row < rows; row++) {
    for (int64_t column = 0; column < columns; column++)
      printf(" %.3f", mean[row * columns + column]);
    printf("\n");
  }

  TF_DeleteTensor(input);
  TF_DeleteTensor(output);
  TF_CloseSession(session, status);
  TF_DeleteSession(session, status);
  TF_DeleteSessionOptions(options);
  TF_DeleteGraph(graph);
  TF_DeleteStatus(status);
  return 0;
}
